package stack

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// proxyHeader tells a forward's target of the true addresses
// (PROXY protocol, haproxy.org/download/3.0/doc/proxy-protocol.txt).
func proxyHeader(v ProxyProtocol, client, dialled netip.AddrPort) []byte {
	switch v {
	case ProxyV1:
		return proxyV1(client, dialled)
	case ProxyV2:
		return proxyV2(client, dialled)
	}
	return nil
}

// proxyV1 is section 2.1's line.
func proxyV1(client, dialled netip.AddrPort) []byte {
	family := "TCP6"
	if client.Addr().Is4() {
		family = "TCP4"
	}
	return fmt.Appendf(nil, "PROXY %s %s %s %d %d\r\n",
		family, client.Addr(), dialled.Addr(), client.Port(), dialled.Port())
}

// proxyV2 is section 2.2's block: version 2, PROXY, TCP over IPv4 or IPv6.
func proxyV2(client, dialled netip.AddrPort) []byte {
	src, dst := client.Addr().AsSlice(), dialled.Addr().AsSlice()
	family := byte(0x21)
	if client.Addr().Is4() {
		family = 0x11
	}
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(src)+len(dst)+4))
	b = append(append(b, src...), dst...)
	b = binary.BigEndian.AppendUint16(b, client.Port())
	return binary.BigEndian.AppendUint16(b, dialled.Port())
}
