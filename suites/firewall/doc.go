// Package firewall is the regression suite of packet filters on a host: which rule judges a packet, and what becomes of
// it.
package firewall
