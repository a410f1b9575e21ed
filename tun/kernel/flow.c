//go:build ignore

// SPDX-License-Identifier: (Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only)

// What redirect/splice does with a plain segment of a flow that the gateway has handed
// down, done at the egress of a door: the packet never comes to user space, and enters
// the other door as if the gateway had written it there. Whatever is not plain, and
// whatever the splice would not merely translate, goes up to the gateway, and from that
// packet on the flow is the gateway's again.
//
// kernel_test.go holds each translation against the splice's own, byte for byte.

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NEXT (-1) // TCX_NEXT: up to the gateway, unless another program wants it

#define ETH_P_IP   0x0800
#define ETH_P_IPV6 0x86dd

#define PSH 0x08
#define ACK 0x10

// DIRECTIONS of a packet: what S sent, and what the backend sent.
enum { TO_SERVER, TO_CLIENT };

// A flow's phases. WATCHED: its packets go up, marked and counted. OFFERED: the same, and
// the first one that finds nothing between the program and the gateway is taken. TAKEN:
// the kernel's. BACK: a packet went up after the flow had been taken; nothing changes here
// before the gateway has read it.
enum { FREE, WATCHED, OFFERED, TAKEN, BACK };

// The mark of what goes up stands in the three bits of the TCP header that RFC 9293,
// section 3.1, reserves: two count the hand-downs of a flow, one says BACK.
#define MARK_TURN(t) ((__u8)((t) % 3 + 1) << 2)
#define MARK_BACK    0x02
#define RESERVED     0x0e

// What is redirected carries its slot, direction and turn in the packet's mark, from the
// program at the egress of one door to the one at the ingress of the other.
#define ACROSS       (1u << 31)
#define ACROSS_SLOT  0xfff
#define ACROSS_DIR   12
#define ACROSS_TURN  13
#define TURN_BITS    0x3ffff

struct key {
	__u8 src[16], dst[16]; // of IPv4 the first four
	__be16 sport, dport;
	__u32 ifindex; // of the door that the packet leaves by
	__u32 family;  // 4 or 6
};

struct place {
	__u64 id;
	__u32 slot;
	__u32 pad;
};

struct leg { // stack/tcb.Leg
	__u32 snd_una, snd_nxt, snd_edge;
	__u32 rcv_nxt, rcv_max, rcv_edge;
	__u32 ts_first, ts_recent, ts_sent;
	__u32 mss;
	__u8 snd_shift, rcv_shift, sack, ts;
};

struct way {
	__u8 src[16], dst[16];
	__be16 sport, dport;
	__u32 label;
	__u32 ifindex; // of the door that it goes in by
	__u32 pad;
};

struct flow {
	struct bpf_spin_lock lock;
	__u32 phase;
	__u64 id;
	__u64 seen[2]; // of up, what the gateway has carried
	__u64 heard, una_at; // CLOCK_MONOTONIC, in ns
	__u64 pkts[2], bytes[2];
	struct leg cli, srv;
	__u32 seq_delta, ts_delta, cut;
	__u32 last, top, una; // splice.Echo
	struct way way[2];
	__u16 ip_id;
	__u8 ttl;
	__u8 trained; // splice.Echo's flights
	__u32 paws; // TS.Recent of the client leg
	__u32 echoed; // newest TSecr that S was shown
	__u32 turn; // how often the gateway has begun to hand it down
};

// sent is what the programs alone write, under the flow's lock but for landed.
struct sent {
	__u64 id;
	__u64 up[2]; // marked, by weight
	__u64 across[2]; // redirected
	__u64 landed[2]; // of those, what has come to the other door
	__u32 turn;
	__u32 srv_id; // the backend's last IP ID
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key);
	__type(value, struct place);
} keys SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct sent);
} counts SEC(".maps");

// l2 is the length of the link header: none on a TUN device, an Ethernet header in the
// kernel's test runs.
const volatile __u32 l2 = 0;

#define CHUNK 256

struct segment {
	__u8 buf[CHUNK] __attribute__((aligned(8))); // of the checksum's sum
	__u8 ip[40] __attribute__((aligned(8)));
	__u8 opts[40] __attribute__((aligned(8)));
	__u8 tcp[20] __attribute__((aligned(8)));
	__u32 at;     // of the TCP header
	__u32 ip_len; // 20 or 40
	__u32 tcp_len;
	__u32 opt_len;
	__u32 len; // payload
	__u32 size; // payload of one segment on the wire
	__u32 segs;
	__u32 seq, ack, end;
	__u32 tsval, tsecr;
	__u32 sack[8]; // in pairs
	__u32 sacks;
	__u16 wnd, id;
	bool has_ts;
	bool plain;
};

// room is a segment under way: too large for the stack.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct segment);
} rooms SEC(".maps");

static __always_inline bool before(__u32 a, __u32 b) { return (__s32)(a - b) < 0; }
static __always_inline __u32 later(__u32 a, __u32 b) { return before(a, b) ? b : a; }
static __always_inline __u32 room(__u32 edge, __u32 at) { return before(edge, at) ? 0 : edge - at; }
static __always_inline __u32 u32at(const __u8 *b) { return (__u32)b[0] << 24 | (__u32)b[1] << 16 | (__u32)b[2] << 8 | b[3]; }
static __always_inline __u16 u16at(const __u8 *b) { return (__u16)(b[0] << 8 | b[1]); }

// known is n, of which the verifier knows now that it lies in [1, most].
static __always_inline __u64 known(__u64 n, __u64 most)
{
	asm volatile("" : "+r"(n));
	if (n < 1 || n > most)
		n = most;
	return n;
}

static __always_inline void put32(__u8 *b, __u32 v)
{
	b[0] = v >> 24;
	b[1] = v >> 16;
	b[2] = v >> 8;
	b[3] = v;
}

static __always_inline void put16(__u8 *b, __u16 v)
{
	b[0] = v >> 8;
	b[1] = v;
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

// network reads the IP header, as far as a flow's key goes.
static __always_inline bool network(struct __sk_buff *skb, struct segment *s, struct key *k)
{
	__u32 total;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, l2, s->ip, 20) || s->ip[0] != 0x45 || s->ip[9] != 6)
			return false;
		if (u16at(s->ip + 6) & 0x3fff)
			return false; // a fragment
		__builtin_memcpy(k->src, s->ip + 12, 4);
		__builtin_memcpy(k->dst, s->ip + 16, 4);
		k->family = 4;
		s->ip_len = 20;
		s->id = u16at(s->ip + 4);
		total = u16at(s->ip + 2);
		if (!total && skb->len - l2 > 0xffff)
			total = skb->len - l2; // BIG TCP: too long for the field
		s->plain = !(s->ip[6] & 0x80) && !(s->ip[1] & 3);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, l2, s->ip, 40) || s->ip[0] >> 4 != 6 || s->ip[6] != 6)
			return false;
		__builtin_memcpy(k->src, s->ip + 8, 16);
		__builtin_memcpy(k->dst, s->ip + 24, 16);
		k->family = 6;
		s->ip_len = 40;
		total = 40 + u16at(s->ip + 4);
		s->plain = !(s->ip[1] & 0x30);
	} else {
		return false;
	}
	if (total < s->ip_len + 20 || total + l2 > skb->len)
		return false;
	if (total + l2 != skb->len)
		s->plain = false;
	s->tcp_len = total - s->ip_len;
	s->at = l2 + s->ip_len;
	if (bpf_skb_load_bytes(skb, s->at, s->tcp, 20))
		return false;
	k->sport = *(__be16 *)s->tcp;
	k->dport = *(__be16 *)(s->tcp + 2);
	k->ifindex = skb->ifindex;
	return true;
}

#define BLOCK(s, i, w) \
	if (n > i) { \
		(s)->sack[2 * i] = u32at((s)->opts + 4 * (w + 1 + 2 * i)); \
		(s)->sack[2 * i + 1] = u32at((s)->opts + 4 * (w + 2 + 2 * i)); \
	}

// blocks reads SACK blocks at word w of the options, which have to fill the rest.
#define BLOCKS(s, w, most) ({ \
	__u32 left = (s)->opt_len - 4 * w, n = (left - 4) / 8; \
	bool ok = left >= 12 && 4 + 8 * n == left && n <= most && \
		u32at((s)->opts + 4 * w) == (0x01010500 | (2 + 8 * n)); \
	if (ok) { \
		BLOCK(s, 0, w) BLOCK(s, 1, w) BLOCK(s, 2, w) \
		if (most > 3) { BLOCK(s, 3, (w > 1 ? 1 : w)) } \
		(s)->sacks = n; \
	} \
	ok; })

// options reads timestamps and SACK blocks where Linux, and wire.Options.put, write them;
// anything else is not plain.
static __always_inline bool options(struct __sk_buff *skb, struct segment *s)
{
	__u32 n = s->opt_len;
	if (n == 0)
		return true;
	if (n < 4 || bpf_skb_load_bytes(skb, s->at + 20, s->opts, known(n, 40)))
		return false;
	if (u32at(s->opts) != 0x0101080a)
		return BLOCKS(s, 0, 4);
	if (n < 12)
		return false;
	s->has_ts = true;
	s->tsval = u32at(s->opts + 4);
	s->tsecr = u32at(s->opts + 8);
	return n == 12 || BLOCKS(s, 3, 3);
}

// partial reports whether the kernel has yet to sum up a packet that it does not vouch
// for. Anybody can write such a field: one level more is known only of what came without.
static __always_inline bool partial(struct __sk_buff *skb)
{
	bpf_csum_level(skb, BPF_CSUM_LEVEL_INC);
	if (bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) < 0)
		return true;
	bpf_csum_level(skb, BPF_CSUM_LEVEL_DEC);
	return false;
}

// summed reports whether the TCP checksum holds, as the gateway asks of what comes to it:
// one broken field would poison an edge for good. The kernel vouches for super-packets and
// for what never left the machine: their field holds the pseudo-header's sum only.
static __always_inline bool summed(struct __sk_buff *skb, struct segment *s)
{
	__u32 n = s->tcp_len, done = 0;
	__u64 sum = 6 + n;
	__u8 *buf = s->buf;
	if (skb->gso_size || bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0)
		return true;
	if (s->ip_len == 20) {
		for (int i = 12; i < 20; i += 2)
			sum += u16at(s->ip + i);
	} else {
		for (int i = 8; i < 40; i += 2)
			sum += u16at(s->ip + i);
	}
	sum = fold(sum);
	if (u16at(s->tcp + 16) == sum && partial(skb))
		return true;
	sum = bpf_htons((__u16)sum);
	for (int i = 0; i < 64 && done + CHUNK <= n; i++, done += CHUNK) {
		if (bpf_skb_load_bytes(skb, s->at + done, buf, CHUNK))
			return false;
		sum = (__u32)bpf_csum_diff(0, 0, (__be32 *)buf, CHUNK, (__u32)sum);
	}
	if (n - done >= CHUNK)
		return false;
	if (n > done) {
		__builtin_memset(buf, 0, CHUNK);
		n = known(n - done, CHUNK);
		if (bpf_skb_load_bytes(skb, s->at + done, buf, n))
			return false;
		sum = (__u32)bpf_csum_diff(0, 0, (__be32 *)buf, CHUNK, (__u32)sum);
	}
	return fold(sum) == 0xffff;
}

// transport reads the rest of a segment and decides whether it is plain. It reports false
// for what the gateway drops before it looks for a flow.
static __always_inline bool transport(struct __sk_buff *skb, struct segment *s)
{
	__u32 head = (s->tcp[12] >> 4) * 4;
	if (head < 20 || head > s->tcp_len || !summed(skb, s))
		return false;
	s->len = s->tcp_len - head;
	if (!s->plain)
		return true;
	s->plain = false;
	if (s->tcp[12] & 0x0f || (s->tcp[13] & ~PSH) != ACK)
		return true;
	s->opt_len = head - 20;
	s->size = s->len;
	s->segs = 1;
	if (skb->gso_size && s->len > skb->gso_size) {
		s->size = skb->gso_size;
		s->segs = (s->len + s->size - 1) / s->size;
	}
	s->seq = u32at(s->tcp + 4);
	s->ack = u32at(s->tcp + 8);
	s->wnd = u16at(s->tcp + 14);
	s->end = s->seq + s->len;
	s->plain = options(skb, s);
	return true;
}

// heard_ack refuses what tcb.Leg.HeardAck would not take in.
static __always_inline bool acceptable(const struct leg *l, __u32 ack)
{
	return !before(l->snd_nxt, ack) && (__s32)(l->snd_una - ack) <= (__s32)(0xffffu << (l->snd_shift & 15));
}

static __always_inline void heard_ack(struct leg *l, __u32 ack, __u16 wnd)
{
	l->snd_edge = later(l->snd_edge, ack + ((__u32)wnd << (l->snd_shift & 15)));
	l->snd_una = later(l->snd_una, ack);
}

static __always_inline bool sack_passes(const struct segment *s, int i, __u32 cut)
{
	__u32 start = s->sack[2 * i], end = s->sack[2 * i + 1];
	bool dsack = i == 0 && !before(s->ack, end); // RFC 2883, section 4
	return !before(start, cut) && (dsack || before(s->ack, start));
}

// serving is splice.Splice.Serving, with what redirect notes before it. It reports false,
// and has changed nothing, where the gateway would do more than translate.
static __always_inline bool serving(struct flow *f, struct segment *s, __u64 now)
{
	struct leg *cli = &f->cli, *srv = &f->srv;
	__u32 d = f->seq_delta, field, ack = s->ack;
	if (!acceptable(cli, ack) || before(ack, f->cut))
		return false;
	if (before(cli->rcv_edge, s->seq) || before(s->end, cli->rcv_nxt - 1))
		return false;
	if (s->has_ts && before(s->tsval, f->paws))
		return false; // perhaps a duplicate of long ago (RFC 7323, section 5.3)
	if (before(srv->snd_edge, s->end))
		return false; // to be kept until the edge moves; or would not be taken there
	if (s->has_ts != srv->ts || s->has_ts != cli->ts || s->size + s->opt_len > srv->mss)
		return false;
	if (s->sacks) {
		if (!srv->sack || !sack_passes(s, 0, f->cut) ||
		    (s->sacks > 1 && !sack_passes(s, 1, f->cut)) ||
		    (s->sacks > 2 && !sack_passes(s, 2, f->cut)) ||
		    (s->sacks > 3 && !sack_passes(s, 3, f->cut)))
			return false;
	}
	heard_ack(cli, ack, s->wnd);
	if (s->has_ts) {
		cli->ts_recent = later(cli->ts_recent, s->tsval);
		if (!before(cli->rcv_nxt, s->seq))
			f->paws = s->tsval; // RFC 7323, section 4.3
	}
	cli->rcv_max = later(cli->rcv_max, s->end);
	f->heard = now;
	if (before(f->una, ack - d)) {
		f->una = ack - d;
		f->una_at = now;
	}
	srv->snd_nxt = later(srv->snd_nxt, s->end);
	field = room(cli->snd_edge, ack) >> (srv->rcv_shift & 15);
	if (field > 0xffff)
		field = 0xffff;
	srv->rcv_edge = later(srv->rcv_edge, ack + (field << (srv->rcv_shift & 15)) - d);
	srv->rcv_nxt = later(srv->rcv_nxt, ack - d);
	s->wnd = field;
	s->ack = ack - d;
	for (int i = 0; i < 8; i++)
		s->sack[i] -= d;
	if (s->has_ts) {
		f->last = s->tsecr;
		s->tsval = cli->ts_recent;
		s->tsecr -= f->ts_delta;
		if (before(s->tsecr, srv->ts_first))
			s->tsecr = srv->ts_first;
		else if (before(srv->ts_recent, s->tsecr))
			s->tsecr = srv->ts_recent;
		srv->ts_sent = s->tsval;
	}
	f->pkts[TO_SERVER]++;
	f->bytes[TO_SERVER] += s->len;
	return true;
}

// client is splice.Splice.Client for a flow whose backend's timers are trained.
static __always_inline bool client(struct flow *f, struct sent *c, struct segment *s, __u64 now)
{
	struct leg *cli = &f->cli, *srv = &f->srv;
	__u32 d = f->seq_delta, ack, edge, field, shift = cli->rcv_shift & 15;
	if ((__s32)(cli->snd_una - f->cut) > 1 << 30)
		f->cut = cli->snd_una - (1 << 29);
	if (!acceptable(srv, s->ack) || before(srv->rcv_edge, s->seq) || before(s->seq, f->cut - d))
		return false;
	if (s->has_ts != srv->ts || s->has_ts != cli->ts || s->size + s->opt_len > cli->mss)
		return false;
	if (s->sacks && !cli->sack)
		return false;
	if (s->len && !f->trained)
		return false;
	if (s->len && !before(f->top, s->end) && !before(cli->snd_una - d, s->end))
		return false; // S has it all
	// The kernel numbers a super-packet's segments on from its own ID only where the
	// backend's own did so.
	if (s->ip_len == 20 && s->id == c->srv_id)
		return false;
	heard_ack(srv, s->ack, s->wnd);
	if (s->has_ts)
		srv->ts_recent = later(srv->ts_recent, s->tsval);
	srv->rcv_max = later(srv->rcv_max, s->end);
	if (s->len)
		f->top = later(f->top, s->end);
	ack = later(s->ack, cli->rcv_nxt);
	edge = later(cli->rcv_edge, srv->snd_edge);
	field = (room(edge, ack) + (1u << shift) - 1) >> shift;
	if (field > 0xffff)
		field = 0xffff;
	cli->rcv_edge = later(cli->rcv_edge, ack + (field << shift));
	cli->rcv_nxt = ack;
	s->ack = ack;
	s->wnd = field;
	s->seq += d;
	if (s->has_ts) {
		s->tsval += f->ts_delta;
		if (before(s->tsval, cli->ts_sent))
			s->tsval = cli->ts_sent;
		cli->ts_sent = s->tsval;
		f->echoed = later(f->echoed, s->tsecr);
	}
	cli->snd_nxt = later(cli->snd_nxt, s->seq + s->len);
	s->id = f->ip_id;
	f->ip_id += s->segs;
	f->heard = now;
	f->pkts[TO_CLIENT]++;
	f->bytes[TO_CLIENT] += s->len;
	return true;
}

// mark tells the gateway which hand-down a packet that goes up belongs to. A sender's own
// bits never come so far.
static __always_inline int mark(struct __sk_buff *skb, struct segment *s, __u8 bits)
{
	__be16 was = *(__be16 *)(s->tcp + 12), is;
	s->tcp[12] = (s->tcp[12] & ~RESERVED) | bits;
	is = *(__be16 *)(s->tcp + 12);
	if (was != is) {
		bpf_l4_csum_replace(skb, s->at + 16, was, is, 2);
		bpf_skb_store_bytes(skb, s->at + 12, &is, 2, 0);
	}
	return NEXT;
}

// write puts a translated segment's headers in place of those that were read. A partial
// checksum is the pseudo-header's sum: of what changes it knows the addresses only.
static __always_inline int write(struct __sk_buff *skb, struct segment *s, const struct way *w, int dir, __u8 ttl, __u32 across)
{
	__u8 was[40];
	__s64 pseudo, diff;
	__u64 sum = 0;

	if (s->ip_len == 20) {
		pseudo = bpf_csum_diff((__be32 *)(s->ip + 12), 4, (__be32 *)w->src, 4, 0);
		pseudo = bpf_csum_diff((__be32 *)(s->ip + 16), 4, (__be32 *)w->dst, 4, pseudo);
		__builtin_memcpy(s->ip + 12, w->src, 4);
		__builtin_memcpy(s->ip + 16, w->dst, 4);
		if (dir == TO_CLIENT)
			put16(s->ip + 4, s->id);
		if (dir == TO_CLIENT || s->ip[8] < ttl)
			s->ip[8] = ttl;
		put16(s->ip + 10, 0);
		for (int i = 0; i < 20; i += 2)
			sum += u16at(s->ip + i);
		put16(s->ip + 10, ~fold(sum));
		if (bpf_skb_store_bytes(skb, l2, s->ip, 20, 0))
			return NEXT;
	} else {
		pseudo = bpf_csum_diff((__be32 *)(s->ip + 8), 16, (__be32 *)w->src, 16, 0);
		pseudo = bpf_csum_diff((__be32 *)(s->ip + 24), 16, (__be32 *)w->dst, 16, pseudo);
		__builtin_memcpy(s->ip + 8, w->src, 16);
		__builtin_memcpy(s->ip + 24, w->dst, 16);
		put32(s->ip, (u32at(s->ip) & 0xfff00000) | (w->label & 0xfffff));
		if (dir == TO_CLIENT || s->ip[7] < ttl)
			s->ip[7] = ttl;
		if (bpf_skb_store_bytes(skb, l2, s->ip, 40, 0))
			return NEXT;
	}

	__builtin_memcpy(was, s->tcp, 16);
	*(__be16 *)s->tcp = w->sport;
	*(__be16 *)(s->tcp + 2) = w->dport;
	put32(s->tcp + 4, s->seq);
	put32(s->tcp + 8, s->ack);
	put16(s->tcp + 14, s->wnd);
	diff = bpf_csum_diff((__be32 *)was, 16, (__be32 *)s->tcp, 16, 0);
	if (bpf_skb_store_bytes(skb, s->at, s->tcp, 16, 0))
		return NEXT;

	if (s->opt_len) {
		__builtin_memcpy(was, s->opts, 40);
		if (s->has_ts) {
			put32(s->opts + 4, s->tsval);
			put32(s->opts + 8, s->tsecr);
			if (dir == TO_SERVER) {
				for (int i = 0; i < 6; i++)
					if (s->sacks > i / 2)
						put32(s->opts + 16 + 4 * i, s->sack[i]);
			}
		} else if (dir == TO_SERVER) {
			for (int i = 0; i < 8; i++)
				if (s->sacks > i / 2)
					put32(s->opts + 4 + 4 * i, s->sack[i]);
		}
		diff = bpf_csum_diff((__be32 *)was, 40, (__be32 *)s->opts, 40, diff);
		__u32 n = s->opt_len;
		if (bpf_skb_store_bytes(skb, s->at + 20, s->opts, known(n, 40), 0))
			return NEXT;
	}
	bpf_l4_csum_replace(skb, s->at + 16, 0, diff, 0);
	bpf_l4_csum_replace(skb, s->at + 16, 0, pseudo, BPF_F_PSEUDO_HDR);
	bpf_set_hash_invalid(skb);
	skb->mark = across;
	return bpf_redirect(w->ifindex, BPF_F_INGRESS);
}

static __always_inline int carry(struct __sk_buff *skb, int dir)
{
	struct key k = {};
	__u32 zero = 0;
	struct segment *s = bpf_map_lookup_elem(&rooms, &zero);
	if (!s)
		return NEXT;
	s->opt_len = 0;
	s->sacks = 0;
	s->has_ts = false;
	if (!network(skb, s, &k))
		return NEXT;
	struct place *p = bpf_map_lookup_elem(&keys, &k);
	if (!p)
		return mark(skb, s, 0); // the watch may begin before the gateway reads it
	__u32 slot = p->slot;
	__u64 id = p->id;
	struct flow *f = bpf_map_lookup_elem(&flows, &slot);
	struct sent *c = bpf_map_lookup_elem(&counts, &slot);
	if (!f || !c)
		return NEXT;
	if (!transport(skb, s))
		return NEXT;

	__u64 now = bpf_ktime_get_ns();
	struct way w;
	__u8 bits, ttl = 64;
	__u32 across;
	__u16 id_in = s->id;
	bool taken = false;

	bpf_spin_lock(&f->lock);
	if (f->id != id || f->phase == FREE) {
		bpf_spin_unlock(&f->lock);
		return mark(skb, s, 0);
	}
	if (c->id != id || c->turn != f->turn) {
		if (c->id != id)
			c->srv_id = 1 << 16;
		c->id = id;
		c->turn = f->turn;
		for (int i = 0; i < 2; i++)
			c->up[i] = c->across[i] = c->landed[i] = 0;
	}
	if (s->plain && (f->phase == TAKEN ||
			(f->phase == OFFERED && c->up[0] == f->seen[0] && c->up[1] == f->seen[1])))
		taken = dir == TO_SERVER ? serving(f, s, now) : client(f, c, s, now);
	if (taken)
		f->phase = TAKEN;
	else if (f->phase == TAKEN)
		f->phase = BACK;
	bits = MARK_TURN(f->turn);
	if (f->phase == BACK)
		bits |= MARK_BACK;
	if (taken)
		c->across[dir]++;
	else
		c->up[dir] += s->len ? s->len : 1; // redirect.Weight
	if (dir == TO_CLIENT) {
		c->srv_id = id_in;
		ttl = f->ttl;
	}
	w = f->way[dir];
	across = ACROSS | (f->turn & TURN_BITS) << ACROSS_TURN | dir << ACROSS_DIR | slot;
	bpf_spin_unlock(&f->lock);

	if (!taken)
		return mark(skb, s, bits);
	return write(skb, s, &w, dir, ttl, across);
}

SEC("tcx/egress")
int from_client(struct __sk_buff *skb) { return carry(skb, TO_SERVER); }

SEC("tcx/egress")
int from_backend(struct __sk_buff *skb) { return carry(skb, TO_CLIENT); }

// landed counts what has come through the queue between the doors: what the gateway
// writes goes past it. To all that comes after, the packet is as if a program had written
// it to the device.
SEC("tcx/ingress")
int landed(struct __sk_buff *skb)
{
	__u32 mark = skb->mark, slot = mark & ACROSS_SLOT;
	if (!(mark & ACROSS))
		return NEXT;
	skb->mark = 0;
	struct sent *c = bpf_map_lookup_elem(&counts, &slot);
	if (c && (c->turn & TURN_BITS) == (mark >> ACROSS_TURN & TURN_BITS))
		__sync_fetch_and_add(&c->landed[mark >> ACROSS_DIR & 1], 1);
	return NEXT;
}

// recall takes a flow back for the gateway, whatever goes on meanwhile: the slot stands
// behind a link header, as a test run has it. From then on nothing changes in it.
SEC("tcx/egress")
int recall(struct __sk_buff *skb)
{
	__u32 slot;
	if (bpf_skb_load_bytes(skb, 14, &slot, 4))
		return 0;
	struct flow *f = bpf_map_lookup_elem(&flows, &slot);
	if (!f)
		return 0;
	bpf_spin_lock(&f->lock);
	if (f->phase == TAKEN)
		f->phase = BACK;
	if (f->phase == OFFERED)
		f->phase = WATCHED;
	bpf_spin_unlock(&f->lock);
	return 1;
}

char __license[] SEC("license") = "Dual BSD/GPL";
