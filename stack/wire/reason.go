package wire

// Reason says why a packet was not taken; OK if it was.
type Reason uint8

// The reasons, in the order in which Parse tests for them.
const (
	OK           Reason = iota
	Short               // shorter than its headers say
	BadVersion          // neither IPv4 nor IPv6
	BadIPHeader         // impossible lengths, or too many extension headers
	BadIPSum            // IPv4 header checksum
	Fragment            // a fragment of a packet
	NotTCP              // another protocol; addresses, Proto and L4 are filled
	BadTCPHeader        // impossible data offset
	BadChecksum         // TCP checksum
)

var reasonNames = [...]string{
	OK: "ok", Short: "short", BadVersion: "bad_version", BadIPHeader: "bad_ip_header",
	BadIPSum: "bad_checksum", Fragment: "fragment", NotTCP: "not_tcp",
	BadTCPHeader: "bad_tcp_header", BadChecksum: "bad_checksum",
}

// String is the name under which the reason is counted.
func (r Reason) String() string { return reasonNames[r] }
