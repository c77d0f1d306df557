// Package filter compiles filters of packets: expressions of pcap-filter(7) about a packet's bytes.
package filter
