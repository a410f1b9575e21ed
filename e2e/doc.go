// Package e2e runs the built program among real kernels, real clients and real
// servers, in network namespaces of its own. Beside them stands the layering
// test: which package may import which, and what a pure package may not do.
package e2e
