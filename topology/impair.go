package topology

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes that the netlink library does not set (include/uapi/linux/pkt_sched.h).
const (
	netemLatency64 = 10
	netemJitter64  = 11
)

// impair gives a device the queueing discipline that makes it a bad line: netem or, where it sends in bursts, tbf, which has packets
// delayed and lost before it limits their rate.
func (rn *runningNode) impair(device string, i Impairment) error {
	limit := i.Limit
	if limit == 0 {
		limit = 1000
	}
	var err error
	parent := uint32(rootQdisc)
	if i.Burst > 0 {
		err = rn.addQdisc(device, parent, tbfHandle, "tbf", tbfOptions(i))
		parent, i.Rate, i.Burst = tbfHandle|1, 0, 0
	}
	kind, options := "netem", netemOptions(i, limit)
	if parent != rootQdisc && i == (Impairment{Limit: i.Limit}) {
		kind, options = "pfifo", nl.NewRtAttr(nl.TCA_OPTIONS, nl.Uint32Attr(limit))
	}
	if err == nil {
		err = rn.addQdisc(device, parent, 0, kind, options)
	}
	if err != nil {
		return fmt.Errorf("impair %s: %w", device, err)
	}
	return nil
}

// tbfHandle is 1: as tc writes it; its only class is 1:1.
const tbfHandle = 1 << 16

// addQdisc makes a queueing discipline the one of a device or of a class, in place of what is there.
func (rn *runningNode) addQdisc(device string, parent, handle uint32, kind string, options *nl.RtAttr) error {
	message := &nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(rn.devices[device]), Parent: parent, Handle: handle}
	err := rn.request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, message,
		nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(kind)), options)
	return unsupported(err, "queueing discipline "+kind, "sch_"+kind)
}

// netemOptions are those of netem. The library's own request cannot say more than 274 seconds.
func netemOptions(i Impairment, limit uint32) *nl.RtAttr {
	basic := nl.TcNetemQopt{Limit: limit, Loss: chance(i.Loss), Duplicate: chance(i.Duplicate)}
	if i.Reorder > 0 {
		basic.Gap = 1
	}
	options := nl.NewRtAttr(nl.TCA_OPTIONS, basic.Serialize())
	options.AddRtAttr(netemLatency64, nanoseconds(i.Delay))
	options.AddRtAttr(netemJitter64, nanoseconds(i.Jitter))
	if i.Reorder > 0 {
		options.AddRtAttr(nl.TCA_NETEM_REORDER, (&nl.TcNetemReorder{Probability: chance(i.Reorder)}).Serialize())
	}
	if i.Corrupt > 0 {
		options.AddRtAttr(nl.TCA_NETEM_CORRUPT, (&nl.TcNetemCorrupt{Probability: chance(i.Corrupt)}).Serialize())
	}
	if i.Rate > 0 {
		// Bytes a second. The 32-bit field is given in any case; the kernel prefers the other where both are there.
		rate := i.Rate / 8
		options.AddRtAttr(nl.TCA_NETEM_RATE, (&nl.TcNetemRate{Rate: uint32(min(rate, math.MaxUint32))}).Serialize())
		if rate > math.MaxUint32 {
			options.AddRtAttr(nl.TCA_NETEM_RATE64, nl.Uint64Attr(rate))
		}
	}
	return options
}

// tbfOptions are those of tbf. The limit in bytes is of the queue that it begins with, and that another takes the place of.
func tbfOptions(i Impairment) *nl.RtAttr {
	rate := i.Rate / 8
	basic := nl.TcTbfQopt{Limit: i.Burst}
	basic.Rate.Rate = uint32(min(rate, math.MaxUint32))
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_TBF_PARMS, basic.Serialize())
	options.AddRtAttr(nl.TCA_TBF_BURST, nl.Uint32Attr(i.Burst))
	if rate > math.MaxUint32 {
		options.AddRtAttr(nl.TCA_TBF_RATE64, nl.Uint64Attr(rate))
	}
	return options
}

// rootQdisc is TC_H_ROOT (include/uapi/linux/pkt_sched.h).
const rootQdisc = 0xffffffff

// unimpair takes the queueing discipline away again.
func (rn *runningNode) unimpair(device string) error {
	message := &nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(rn.devices[device]), Parent: rootQdisc}
	if err := rn.request(unix.RTM_DELQDISC, 0, message); err != nil {
		return fmt.Errorf("take the impairment of %s away: %w", device, err)
	}
	return nil
}

// chance is a percentage as the kernel's fraction of 2³²-1.
func chance(percent float64) uint32 { return uint32(math.Round(percent / 100 * math.MaxUint32)) }

func nanoseconds(d time.Duration) []byte {
	return binary.NativeEndian.AppendUint64(nil, uint64(d.Nanoseconds()))
}
