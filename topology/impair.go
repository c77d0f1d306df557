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

// impair makes netem the root queueing discipline of a device. The library's own request cannot say more than 274
// seconds.
func (rn *runningNode) impair(device string, i Impairment) error {
	message := &nl.TcMsg{
		Family: nl.FAMILY_ALL, Ifindex: int32(rn.devices[device]), Parent: rootQdisc,
	}
	limit := i.Limit
	if limit == 0 {
		limit = 1000
	}
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
	err := rn.request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, message,
		nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("netem")), options)
	if err != nil {
		return fmt.Errorf("impair %s: %w", device, unsupported(err, "queueing discipline netem", "sch_netem"))
	}
	return nil
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
