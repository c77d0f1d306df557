// Command soak shows on two million packets that identity is exact and that nothing is lost where nothing is provoked:
//
//	waybill vm --kernel 6.12 -- build/soak --packets 2000000
//
// UDP and TCP flow in both directions over a cable with GRO, so that the buffers of each are used again by the other. Every
// datagram carries a number, and TCP's segments their place in the stream: so what packet an event saw is known from the
// bytes that it saw, and needs no identity. All events of one identity must have seen the one packet, and each datagram must
// have had the one identity. How many events there must be is what the kernel counted. When the traffic is over, the tracker
// must have forgotten all packets; one that is left is listed with what it is and where it rests.
package main
