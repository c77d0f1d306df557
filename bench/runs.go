package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
)

// programRuns is what one program, or several of one name, did in a flood.
type programRuns struct {
	Name          string  `json:"name"`
	Type          string  `json:"type"`
	RunsPerPacket float64 `json:"runs_per_packet"`
	// NsPerRun is time, which is instructions where the guest's clock counts them. It includes the kernel's own
	// looking at the clock, as the empty program's figure tells.
	NsPerRun float64 `json:"ns_per_run"`
}

// programKey is by what programs are added up. The kernel cuts names at 15 characters.
type programKey struct {
	name string
	kind string
}

type programTotal struct {
	runs uint64
	time time.Duration
}

// programTotals reads what all programs of this kernel have done since they were loaded, as far as the kernel was told
// to count it.
func programTotals() (map[programKey]programTotal, error) {
	totals := make(map[programKey]programTotal)
	var id ebpf.ProgramID
	for {
		var err error
		if id, err = ebpf.ProgramGetNextID(id); errors.Is(err, os.ErrNotExist) {
			return totals, nil
		} else if err != nil {
			return nil, fmt.Errorf("list programs: %w", err)
		}
		p, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // gone meanwhile
		} else if err != nil {
			return nil, fmt.Errorf("open program %d: %w", id, err)
		}
		err = addTotals(totals, p)
		if err = errors.Join(err, p.Close()); err != nil {
			return nil, err
		}
	}
}

func addTotals(totals map[programKey]programTotal, p *ebpf.Program) error {
	info, err := p.Info()
	if err != nil {
		return fmt.Errorf("read a program's name: %w", err)
	}
	stats, err := p.Stats()
	if err != nil {
		return fmt.Errorf("read the runs of program %s: %w", info.Name, err)
	}
	key := programKey{name: info.Name, kind: info.Type.String()}
	sum := totals[key]
	sum.runs += stats.RunCount
	sum.time += stats.Runtime
	totals[key] = sum
	return nil
}

// enableRunTime is BPF_STATS_RUN_TIME (include/uapi/linux/bpf.h).
const enableRunTime = 0

// countRuns has the kernel count every run of every program during a flood of n datagrams. The most costly come first.
func countRuns(n int, flood func() error) (_ []programRuns, err error) {
	counting, err := ebpf.EnableStats(enableRunTime)
	if err != nil {
		return nil, fmt.Errorf("have the kernel count the runs of programs: %w", err)
	}
	defer func() { err = errors.Join(err, counting.Close()) }()
	before, err := programTotals()
	if err != nil {
		return nil, err
	}
	if err := flood(); err != nil {
		return nil, err
	}
	after, err := programTotals()
	if err != nil {
		return nil, err
	}
	var all []programRuns
	for _, key := range slices.Collect(maps.Keys(after)) {
		runs, spent := after[key].runs-before[key].runs, after[key].time-before[key].time
		if runs == 0 {
			continue
		}
		all = append(all, programRuns{
			Name: key.name, Type: key.kind,
			RunsPerPacket: float64(runs) / float64(n), NsPerRun: float64(spent) / float64(runs),
		})
	}
	slices.SortFunc(all, func(a, b programRuns) int {
		return cmp.Or(cmp.Compare(b.perPacket(), a.perPacket()), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

func (p programRuns) perPacket() float64 { return p.RunsPerPacket * p.NsPerRun }
