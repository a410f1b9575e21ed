package suricata

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Vars are the names that rules use for addresses and ports, without the dollar.
type Vars struct {
	text map[string]string
	nets map[string]*nets  // resolved ones
	port map[string]*ports // resolved ones
	path []string          // being resolved: a name must not need itself
}

// defaults are those of the configuration that Suricata comes with.
var defaults = map[string]string{
	"HOME_NET":       "[192.168.0.0/16,10.0.0.0/8,172.16.0.0/12]",
	"EXTERNAL_NET":   "!$HOME_NET",
	"HTTP_SERVERS":   "$HOME_NET",
	"SMTP_SERVERS":   "$HOME_NET",
	"SQL_SERVERS":    "$HOME_NET",
	"DNS_SERVERS":    "$HOME_NET",
	"TELNET_SERVERS": "$HOME_NET",
	"FTP_SERVERS":    "$HOME_NET",
	"SSH_SERVERS":    "$HOME_NET",
	"SIP_SERVERS":    "$HOME_NET",
	"AIM_SERVERS":    "$EXTERNAL_NET",
	"DC_SERVERS":     "$HOME_NET",
	"DNP3_SERVER":    "$HOME_NET",
	"DNP3_CLIENT":    "$HOME_NET",
	"MODBUS_CLIENT":  "$HOME_NET",
	"MODBUS_SERVER":  "$HOME_NET",
	"ENIP_CLIENT":    "$HOME_NET",
	"ENIP_SERVER":    "$HOME_NET",

	"HTTP_PORTS":       "80",
	"SHELLCODE_PORTS":  "!80",
	"ORACLE_PORTS":     "1521",
	"SSH_PORTS":        "22",
	"DNP3_PORTS":       "20000",
	"MODBUS_PORTS":     "502",
	"FILE_DATA_PORTS":  "[$HTTP_PORTS,110,143]",
	"FTP_PORTS":        "21",
	"GENEVE_PORTS":     "6081",
	"VXLAN_PORTS":      "4789",
	"TEREDO_PORTS":     "3544",
	"SIP_PORTS":        "[5060,5061]",
	"KERBEROS_PORTS":   "88",
	"TELNET_PORTS":     "23",
	"SMTP_PORTS":       "[25,587]",
	"HTTP_PROXY_PORTS": "[3128,8080]",
}

// NewVars takes Suricata's defaults, and own instead of them where it names the
// same. Every mistake in own is reported.
func NewVars(own map[string]string) (*Vars, error) {
	v := &Vars{text: maps.Clone(defaults), nets: map[string]*nets{}, port: map[string]*ports{}}
	maps.Copy(v.text, own)
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(own)) {
		var err error
		if strings.HasSuffix(name, "_PORTS") || strings.HasSuffix(name, "_PORT") {
			_, err = v.ports("$" + name)
		} else {
			_, err = v.addresses("$" + name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return v, errors.Join(errs...)
}

// expand resolves a name once; read makes its value of the text.
func expand[T any](v *Vars, known map[string]*T, name string, read func(string) (*T, error)) (*T, error) {
	if t, ok := known[name]; ok {
		return t, nil
	}
	text, ok := v.text[name]
	if !ok {
		return nil, fmt.Errorf("the variable $%s is not set", name)
	}
	if slices.Contains(v.path, name) || len(v.path) > 16 {
		return nil, fmt.Errorf("the variable $%s needs itself", name)
	}
	v.path = append(v.path, name)
	t, err := read(text)
	v.path = v.path[:len(v.path)-1]
	if err == nil {
		known[name] = t
	}
	return t, err
}

// cutList takes the brackets off a list, and its entries apart.
func cutList(text string) ([]string, error) {
	if !strings.HasPrefix(text, "[") {
		return []string{text}, nil
	}
	if !strings.HasSuffix(text, "]") {
		return nil, fmt.Errorf("%q: a bracket is not closed", text)
	}
	text = text[1 : len(text)-1]
	var entries []string
	depth, from := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '[':
			depth++
		case ']':
			depth--
		case ',':
			if depth == 0 {
				entries = append(entries, strings.TrimSpace(text[from:i]))
				from = i + 1
			}
		}
		if depth < 0 || depth > 8 {
			return nil, fmt.Errorf("%q: brackets do not fit", text)
		}
	}
	if depth != 0 {
		return nil, fmt.Errorf("%q: a bracket is not closed", text)
	}
	return append(entries, strings.TrimSpace(text[from:])), nil
}
