package subject

import (
	"context"
	"fmt"
	"strings"

	"sleight/e2e/bed"
)

// direct is a gateway that is a plain router.
func direct() Subject {
	server, _ := bed.BackendAddrs(0)
	return Subject{
		Name: "direct", What: "the kernel forwards; no address is changed", host: server,
		begin: func(r *Running) error { return r.Bed.Forward() },
	}
}

// dnat is what the kernel itself has for the job, and what everything is compared to.
func dnat() Subject {
	return Subject{
		Name: "nft", What: "the kernel forwards and changes both addresses (nftables DNAT and SNAT)",
		Needs: "nft", Package: "nftables",
		host: claimed(), begin: beginDNAT,
	}
}

const ruleset = `table ip bench {
	chain in { type nat hook prerouting priority dstnat; ip daddr %s dnat to %s; }
	chain out { type nat hook postrouting priority srcnat; oifname %q masquerade; }
}
`

func beginDNAT(r *Running) error {
	if err := r.Bed.Forward(); err != nil {
		return err
	}
	server, _ := bed.BackendAddrs(0)
	c := r.Bed.Gateway.Command(context.Background(), "nft", "-f", "-")
	c.Stdin = strings.NewReader(fmt.Sprintf(ruleset, bed.Claimed4, server, bed.BackendDevice(0)))
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	// Ended connections must not fill the table of the kernel's connection tracking.
	for _, state := range []string{"time_wait", "close", "last_ack", "fin_wait", "close_wait"} {
		if err := r.Bed.Gateway.Sysctl("net/netfilter/nf_conntrack_tcp_timeout_"+state, "1"); err != nil {
			return err
		}
	}
	return nil
}
