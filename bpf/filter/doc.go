// Package filter compiles the two kinds of filters by which a tracker decides which packets it follows: [CompilePacket] those
// of pcap-filter(7) about a packet's bytes, and [CompileMeta] those about fields of its sk_buff.
//
// A filter is asked once, when a packet is first seen. It becomes a function of eBPF, which [Packet.Inject] and [Meta.Inject]
// put in the place of the functions filter_packet and filter_meta of a program; filter.h declares them, and says what they
// are given. For packets of a file, [Packet.Match] says the same in Go.
//
// # Verdicts
//
// A [Verdict] is match, no match, or unknown. Unknown is said, for the whole filter, as soon as it needs a byte that the
// packet has and that cannot be read: because it is in another sk_buff behind this one (frag_list), or in memory that the
// kernel does not have or does not tell of, or because memory that an address leads to is gone; and for packets that begin with
// nothing that is known. Whoever asks must not take it for a no, and may ask again at another place.
//
// # Filters by bytes
//
// The grammar is libpcap's, with all that makes sense on Ethernet and on IP: protocols by name and number; host, net, port
// and portrange with src and dst; ether; vlan, mpls, pppoes and geneve, which move what stands to the right of them;
// broadcast, multicast, llc; less, greater, len; arithmetic on bytes of headers; and, or, not. "and" and "or" have the same
// precedence, "not" binds closest, and a name without qualifiers takes those of the one before: "tcp port 80 or 443". Ports
// and protocols may have the names of /etc/services and /etc/protocols; what is not there may be in a table here, since a VM
// has no such files. Names of hosts are not looked up. What is refused is refused with an [Error], whose text shows the
// place.
//
// Every verdict is that of what tcpdump -ddd prints (libpcap 1.10), also where that surprises. A load beyond the end of the
// packet is no match of the whole expression, even under "not". "tcp" finds IPv6 with the header of a fragment in front, and
// no other one. Ports are found in the first fragment of IPv4, and in IPv6 without extension headers. "tcp[0]" is about IPv4.
// Bytes of a protocol are looked at in packets of that protocol only, but in "1 + tcp[0] = 5" nothing is checked, because
// only what is left of an operator is. Numbers are of 32 bits, without signs; shifting by more than 31 leaves nothing, and
// dividing by zero is no match.
//
// What differs:
//
//   - Packets without a header of a link: tcpdump -y RAW refuses what is about one, or takes the header of IP for it
//     ("ether[0]", and what stands behind "pppoes"). Here such a condition does not hold, what would move headers moves none,
//     and the others are as they are.
//   - Packets that end too early for an expression that is true whatever is in them, like "ip or not ip" or "ip[8] * 0 = 0".
//     Here, and after tcpdump -O, they do not match; its optimizer leaves out looking, and then they do.
//   - A shift or a division by a byte whose offset is more than 31 or zero, like "1 << ip[40]", which tcpdump refuses by
//     mistake, and expressions for which it has too few registers.
//   - A tag beside the data, which only the kernel has: the first "vlan" finds it, and moves nothing then.
//   - "ip broadcast" knows no device, and so only 255.255.255.255 and 0.0.0.0, as tcpdump -ddd.
//   - gateway, protochain, byte, inbound, outbound and ifindex, names of hosts, addresses of DECnet, and offsets that are
//     negative, are refused.
//
// [CompilePacket] also takes what tcpdump -ddd prints, and iptables and tc take as bytecode. It is one program for packets
// that begin with Ethernet, so of others its verdict is unknown; [CompileClassic] takes one for those.
//
// # Filters by metadata
//
//	expression = term | "not" expression | expression "and" expression | expression "or" expression | "(" expression ")"
//	term       = "sk_buff" { "." field [ ":" [ "~" ] mask ] [ ":" struct ] } [ operator value ]
//	operator   = "==" | "!=" | "<" | "<=" | ">" | ">="
//	value      = number | "-" number | string | name of an enumerator
//
// "not" ("!") binds closest, then "and" ("&&"), then "or" ("||"). Numbers are decimal, 0x…, 0b… or octal 0…; strings are in
// single or double quotes. A term without an operator holds if the field is not zero. Fields that are addresses are followed;
// one that is kept in a number, or points to nothing in particular, is followed as what is named behind it:
// "sk_buff._nfct:~0x7:nf_conn.mark". Types come from the kernel's BTF, or that of a module. Bit fields, signs and
// enumerations are as in C; strings are whole arrays of char, or what a pointer to char points to, up to 63 letters.
//
// A term that leads through an address of zero does not hold, whatever its operator: sk_buff.dev.name != "lo" is about
// packets that have a device. An address that cannot be read makes the verdict unknown.
//
// # Asking in the kernel
//
// A program that includes filter.h calls its functions with a struct filter_input, and defines filter_read, by which they reach
// what is behind the first 128 bytes; those it reads before it asks. Where a packet begins, and what with, is the caller's to
// know: the tracker does it in c/include/filters.h. Pointers to typed memory may be stored in the input as they are.
//
// The verifier checks each function once for a program, whatever leads to the call. The input takes 176 bytes of the caller's
// stack, which may be those of something that lives later. Filters by bytes take 8 bytes for each intermediate result; filters by
// metadata 8, or 72 to compare strings. Both work on Linux 6.1 and later.
//
// # How it works
//
// A parser makes a syntax tree; for each way in which a packet may begin it is lowered to the machine of classic BPF, and
// optimized in a way that changes no verdict. That intermediate form is run by [Packet.Match], or written as eBPF: loads
// from the packet's first 128 bytes, which were read at once into memory of the caller, compared with how much there is; and reads
// of their own for what is behind.
package filter
