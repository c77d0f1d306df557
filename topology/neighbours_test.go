package topology

import (
	"testing"

	"github.com/go-quicktest/qt"
	"golang.org/x/sys/unix"
)

func TestNeighbours(t *testing.T) {
	need(t)
	var n Network
	a, b := n.Add(Node{Name: "a"}), n.Add(Node{Name: "b"})
	n.Connect(a, b)
	a.Neighbours = []Neighbour{{Addr: IP("172.16.42.9"), MAC: "02:00:00:00:00:09"}, {Addr: V6(b)}}
	r := mustUp(t, &n)
	texts := func() (texts []string) {
		neighbours, err := r.Neighbours(a)
		qt.Assert(t, qt.IsNil(err))
		for _, neighbour := range neighbours {
			texts = append(texts, neighbour.String())
		}
		return texts
	}
	declared := []string{"172.16.42.9 dev eth0 lladdr 02:00:00:00:00:09 PERMANENT",
		"fd42:0:0:42::2 dev eth0 lladdr 02:00:ac:10:2a:02 PERMANENT"}
	qt.Check(t, qt.ContentEquals(texts(), declared))
	exchange(t, r, a, b, b.Addr())
	qt.Check(t, qt.ContentEquals(texts(), append(declared, "172.16.42.2 dev eth0 lladdr 02:00:ac:10:2a:02 REACHABLE")))
	_, err := r.Neighbours(nil)
	qt.Check(t, qt.ErrorMatches(err, "the node is nil: use a handle that Network.Add returned"))
}

func TestNetNS(t *testing.T) {
	need(t)
	var n Network
	a := n.Add(Node{Name: "a"})
	r := mustUp(t, &n)
	file, err := r.NetNS(a)
	qt.Assert(t, qt.IsNil(err))
	defer func() { qt.Check(t, qt.IsNil(file.Close())) }()
	var stat unix.Stat_t
	qt.Assert(t, qt.IsNil(unix.Fstat(int(file.Fd()), &stat)))
	qt.Check(t, qt.Equals(uint32(stat.Ino), r.NetNSInum(a)))
	_, err = r.NetNS(nil)
	qt.Check(t, qt.ErrorMatches(err, "the node is nil: use a handle that Network.Add returned"))
}
