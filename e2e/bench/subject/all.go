package subject

// Names that the figures ask for.
const (
	Direct  = "direct"
	NFT     = "nft"
	Sleight = "sleight"
	Copied  = "sleight-kernel-off"
	Plain   = "sleight-no-offload"
	TUN     = "tun"
)

// All are the subjects in the order of the report.
func All() []Subject {
	return []Subject{
		direct(),
		dnat(),
		sleight(Sleight, "Sleight, spliced", true, "auto"),
		sleight(Copied, "Sleight, spliced, every packet through the gateway (tun.kernel: off)", true, "off"),
		sleight(Plain, "Sleight, spliced, packet by packet (tun.offload: false)", false, "off"),
		haproxy("haproxy", "HAProxy, mode tcp", "no option splice-auto"),
		haproxy("haproxy-splice", "HAProxy, mode tcp, option splice-auto (splice(2) in both directions)", "option splice-auto"),
		pass(),
	}
}
