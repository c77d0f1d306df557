// Command bench measures what observing a packet costs: a flood of UDP datagrams over a cable between two namespaces, first
// with nothing attached, then with more and more. README.md tells how to run it and how to read it.
//
//	bench run --waybill build/waybill --kernel 6.12
//
// "bench run" is for the host. It runs "bench flood" in a VM, which prints the table; "bench send" is the flood's sender, in a
// process of its own, so that what the measured process costs is not mixed with it.
package main
