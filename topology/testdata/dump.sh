#!/bin/sh
# Builds a network in namespaces that are called as its nodes. Run it as root, on a kernel with the same features; ip netns del
# takes each node down again.
set -e

# Nodes
ip netns add n0
ip netns add n1
ip netns add n2

# Settings of nodes, and those that new devices inherit
ip netns exec n0 sysctl -qw net.ipv4.conf.all.forwarding=0 net.ipv6.conf.all.forwarding=0
ip netns exec n1 sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv6.conf.all.forwarding=1
ip netns exec n2 sysctl -qw net.ipv4.conf.all.forwarding=0 net.ipv6.conf.all.forwarding=0
for node in n0 n1 n2; do
	ip netns exec $node sysctl -qw net.ipv4.conf.all.accept_local=0 net.ipv4.conf.all.accept_redirects=0 \
		net.ipv4.conf.all.arp_announce=0 net.ipv4.conf.all.arp_filter=0 net.ipv4.conf.all.arp_ignore=0 \
		net.ipv4.conf.all.arp_notify=0 net.ipv4.conf.all.log_martians=0 net.ipv4.conf.all.proxy_arp=0 \
		net.ipv4.conf.all.route_localnet=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.send_redirects=1 \
		net.ipv4.conf.all.src_valid_mark=0 net.ipv4.conf.default.accept_local=0 net.ipv4.conf.default.accept_redirects=0 \
		net.ipv4.conf.default.arp_announce=0 net.ipv4.conf.default.arp_filter=0 net.ipv4.conf.default.arp_ignore=0 \
		net.ipv4.conf.default.arp_notify=0 net.ipv4.conf.default.log_martians=0 net.ipv4.conf.default.proxy_arp=0 \
		net.ipv4.conf.default.route_localnet=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.default.send_redirects=1 \
		net.ipv4.conf.default.src_valid_mark=0 net.ipv4.conf.lo.accept_redirects=0 net.ipv4.conf.lo.rp_filter=0 \
		net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0 \
		net.ipv6.conf.default.accept_redirects=0 net.ipv6.conf.default.addr_gen_mode=1 net.ipv6.conf.default.autoconf=0 \
		net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.lo.disable_ipv6=0
done

# Cables
ip -n n0 link add eth0 address 02:00:ac:10:2a:01 type veth peer name eth0 address 02:00:ac:10:2a:02 netns n1
ip -n n1 link add eth1 address 02:00:ac:10:2b:01 type veth peer name eth0 address 02:00:ac:10:2b:02 netns n2

# What is up
ip -n n0 link set lo up
ip -n n0 link set eth0 up
ip -n n1 link set lo up
ip -n n1 link set eth0 up
ip -n n1 link set eth1 up
ip -n n2 link set lo up
ip -n n2 link set eth0 up

# Addresses
ip -n n0 addr add 172.16.42.1/24 broadcast 172.16.42.255 dev eth0
ip -n n0 addr add fd42:0:0:42::1/64 dev eth0 nodad
ip -n n0 addr add fe80::1/64 dev eth0 nodad
ip -n n1 addr add 172.16.42.2/24 broadcast 172.16.42.255 dev eth0
ip -n n1 addr add fd42:0:0:42::2/64 dev eth0 nodad
ip -n n1 addr add fe80::2/64 dev eth0 nodad
ip -n n1 addr add 172.16.43.1/24 broadcast 172.16.43.255 dev eth1
ip -n n1 addr add fd42:0:0:43::1/64 dev eth1 nodad
ip -n n1 addr add fe80::1/64 dev eth1 nodad
ip -n n2 addr add 172.16.43.2/24 broadcast 172.16.43.255 dev eth0
ip -n n2 addr add fd42:0:0:43::2/64 dev eth0 nodad
ip -n n2 addr add fe80::2/64 dev eth0 nodad

# Routes
ip -n n0 route add 172.16.43.0/24 via 172.16.42.2 dev eth0
ip -n n0 -6 route add fd42:0:0:43::/64 via fd42:0:0:42::2 dev eth0
ip -n n2 route add 172.16.42.0/24 via 172.16.43.1 dev eth0
ip -n n2 -6 route add fd42:0:0:42::/64 via fd42:0:0:43::1 dev eth0

# Rulesets
ip netns exec n1 nft -f - <<'EOF'
table inet f {
	chain c {
		type filter hook forward priority filter; policy drop;
	}
}
EOF

# Not in this script:
# - the multicast routes of n1, which last as long as the process that made them
