package subject

// Names that the figures ask for.
const (
	Direct  = "direct"
	NFT     = "nft"
	Sleight = "sleight"
	Kernel  = "sleight-kernel"
	Plain   = "sleight-no-offload"
	TUN     = "tun"
)

// All are the subjects in the order of the report.
func All() []Subject {
	return []Subject{
		direct(),
		dnat(),
		sleight(Sleight, "Sleight, spliced, super-packets", true, "off"),
		sleight(Kernel, "Sleight, spliced, plain flows carried by the kernel (tun.kernel: auto)", true, "auto"),
		sleight(Plain, "Sleight, spliced, packet by packet (tun.offload: false)", false, "off"),
		haproxy("haproxy", "HAProxy, mode tcp", "no option splice-auto"),
		haproxy("haproxy-splice", "HAProxy, mode tcp, option splice-auto (splice(2) in both directions)", "option splice-auto"),
		pass(),
	}
}
