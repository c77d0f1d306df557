package bpf

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/journey"
)

// loadTables gives a ruleset to iptables or ip6tables, and has the kernel load the modules. Only the old iptables uses the
// tables: the new one makes rules of nftables.
func (h *host) loadTables(t *testing.T, tool, rules string) {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + tool)
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("needs %s (package iptables): %v", tool, err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	qt.Assert(t, qt.IsNil(h.Do(func() error {
		restore := exec.Command(path)
		restore.Stdin = strings.NewReader(rules)
		out, err := restore.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})))
}

// TestTables rejects a datagram: while the table is at work on it, the answer goes through the same table's function.
func TestTables(t *testing.T) {
	h := newHost(t)
	h.loadTables(t, "iptables-legacy-restore", `*filter
:INPUT ACCEPT [0:0]
-A INPUT -p udp --dport 9 -j REJECT
COMMIT
*mangle
:OUTPUT ACCEPT [0:0]
-A OUTPUT -p udp --dport 9 -j MARK --set-mark 7
COMMIT
`)
	h.loadTables(t, "ip6tables-legacy-restore", `*filter
:INPUT DROP [0:0]
COMMIT
`)
	eachWay(t, func(t *testing.T, tracker *Tracker) {
		h.forget()
		scope := h.watch(t, tracker)
		qt.Assert(t, qt.IsNil(scope.Arm([]string{"ipt_do_table/stack", "ip6t_do_table", "kr:ipt_do_table"})))
		h.send(t, 1)
		tables := func() (seen []string) {
			_, err := tracker.Barrier(t.Context())
			qt.Assert(t, qt.IsNil(err))
			var verdicts, returned []string
			all := h.observations()
			for _, o := range all {
				i := o.IPTables
				switch {
				case o.Drop != nil:
					seen = append(seen, "dropped: "+o.Drop.Reason)
				case o.Probe.Kind == journey.Return:
					qt.Assert(t, qt.IsNotNil(o.Return))
					returned = append(returned, journey.Verdict(uint32(*o.Return)))
				case o.Kind == journey.Seen:
					qt.Assert(t, qt.IsNotNil(i))
					whose := "answer"
					if o.ID == all[0].ID {
						whose = "datagram"
					}
					seen = append(seen, fmt.Sprintf("%s: %s %s %s %s", whose, i.Family, i.Table, i.Hook, i.Verdict))
					qt.Check(t, qt.IsNotNil(o.Packet))
					qt.Check(t, qt.IsTrue(o.Len > 28))
					if i.Family == "ip" {
						verdicts = append(verdicts, i.Verdict)
						qt.Check(t, qt.IsTrue(slices.Contains(symbols(o.Stack), "nf_hook_slow")), qt.Commentf("%v", o.Stack))
					}
				}
			}
			qt.Check(t, qt.DeepEquals(returned, verdicts))
			return seen
		}
		qt.Check(t, qt.DeepEquals(tables(), []string{
			"datagram: ip mangle output accept", "datagram: ip filter output accept",
			"datagram: ip mangle postrouting accept", "datagram: ip mangle prerouting accept", "datagram: ip mangle input accept",
			"answer: ip mangle output accept", "answer: ip filter output accept", "answer: ip mangle postrouting accept",
			"datagram: ip filter input drop", "dropped: NETFILTER_DROP",
			"answer: ip mangle prerouting accept", "answer: ip mangle input accept", "answer: ip filter input accept",
		}))
		qt.Check(t, qt.Equals(entries(t, tracker, trackerMapWorks), 0))

		h.forget()
		qt.Assert(t, qt.IsNil(h.Do(func() error {
			socket, err := net.DialUDP("udp6", nil, &net.UDPAddr{IP: net.IPv6loopback, Port: 9})
			if err != nil {
				return err
			}
			defer func() { _ = socket.Close() }()
			_, err = socket.Write([]byte("abc"))
			return err
		})))
		qt.Check(t, qt.DeepEquals(tables(), []string{
			"datagram: ip6 filter output accept", "datagram: ip6 filter input drop", "dropped: NETFILTER_DROP",
		}))
		qt.Assert(t, qt.IsNil(scope.Close()))
	})
}
