package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What the guest writes for the host.
const (
	figuresFile = "figures.json"
	profileFile = "cpu.pprof"
)

// floodCommand measures every variant on the running kernel.
type floodCommand struct {
	Packets int      `default:"5000" help:"Datagrams for each variant (${default})."`
	Counts  bool     `help:"The clock of this machine counts instructions."`
	Verbose bool     `short:"v" help:"Show also what each program of the kernel's did."`
	Profile bool     `help:"Leave a CPU profile of this process as well, in which the tracker reads."`
	Only    []string `sep:"none" placeholder:"VARIANT" help:"Variants to measure, beside nothing (all)."`
}

// part is of how many datagrams one measurement is; the median of all counts.
const part = 1000

// Run measures, prints a table, and leaves the figures in the folder for artifacts, if there is one. Events that were
// neither seen nor counted as lost are an error.
func (c floodCommand) Run(ctx context.Context) error {
	if c.Packets < part || c.Packets%part != 0 {
		return fmt.Errorf("--packets %d: give a multiple of %d", c.Packets, part)
	}
	r, err := c.measureAll(ctx)
	if err != nil {
		return err
	}
	r.print(os.Stdout, c.Verbose)
	dir := os.Getenv("WAYBILL_ARTIFACTS")
	if dir == "" {
		return r.unaccounted()
	}
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, figuresFile), text, 0o644); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return r.unaccounted()
}

func (c floodCommand) measureAll(ctx context.Context) (*result, error) {
	f, err := newField(ctx)
	if err != nil {
		return nil, err
	}
	r, err := c.measureOn(ctx, f)
	return r, errors.Join(err, f.Close())
}

func (c floodCommand) measureOn(ctx context.Context, f *field) (*result, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, fmt.Errorf("read the kernel's name: %w", err)
	}
	r := &result{
		Kernel: unix.ByteSliceToString(u.Release[:]), Counts: c.Counts, CPUs: runtime.NumCPU(), Packets: c.Packets,
		Functions: len(functions),
	}
	var err error
	if r.EventsPerPacket, err = countEvents(f); err != nil {
		return nil, fmt.Errorf("count the events that a datagram makes: %w", err)
	}
	for _, v := range variants {
		if v.name != nothing && len(c.Only) > 0 && !slices.Contains(c.Only, v.name) {
			continue
		}
		figures, err := c.measure(ctx, f, v, r)
		if err != nil {
			return nil, fmt.Errorf("measure %s: %w", v.name, err)
		}
		r.Variants = append(r.Variants, figures)
	}
	return r, nil
}

// countEvents has the kernel count how often a datagram comes by the functions.
func countEvents(f *field) (_ float64, err error) {
	at, _, err := attachAll(emptyProgram())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, at.Close()) }()
	const n = 100
	programs, err := countRuns(n, func() error { return f.flood(n) })
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, p := range programs {
		if strings.HasPrefix(p.Name, programName) {
			sum += p.RunsPerPacket
		}
	}
	return sum, nil
}

func (c floodCommand) measure(ctx context.Context, f *field, v variant, into *result) (_ figures, err error) {
	var timing laps
	result := figures{Name: v.name}
	var o observer
	if o, result.How, err = v.open(ctx, f, &timing); err != nil {
		return figures{}, err
	}
	if o == nil {
		result.Skipped = true
		return result, nil
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, o.Close())
		}
	}()
	result.Expected = uint64(math.Round(float64(c.Packets) * into.EventsPerPacket))
	if err := warmUp(ctx, f, o); err != nil {
		return figures{}, err
	}
	before, err := o.count()
	if err != nil {
		return figures{}, err
	}
	usedBefore, err := readUse()
	if err != nil {
		return figures{}, err
	}
	if err := c.floods(ctx, f, o, &result); err != nil {
		return figures{}, err
	}
	used, err := readUse()
	if err != nil {
		return figures{}, err
	}
	after, err := o.count()
	if err != nil {
		return figures{}, err
	}
	result.Events, result.Records = after.events-before.events, after.records-before.records
	result.Lost = after.lost - before.lost
	result.RingBytes = used.ringBytes - usedBefore.ringBytes
	result.Waits, result.Allocations = used.waits-usedBefore.waits, used.allocations-usedBefore.allocations

	if result.Programs, err = countRuns(part, func() error { return run(ctx, f, o) }); err != nil {
		return figures{}, err
	}
	if v.name == full && c.Profile {
		if err := profile(ctx, f, o); err != nil {
			return figures{}, err
		}
	}
	if t, ok := o.(*tracking); ok && v.name == full {
		hits := t.tellApart()
		if err := run(ctx, f, o); err != nil {
			return figures{}, err
		}
		result.ByFunction = make(map[string]float64)
		for _, name := range functions {
			result.ByFunction[name] = float64(hits[name]) / float64(part)
		}
	}
	closed = true
	timing.begin()
	if err := o.Close(); err != nil {
		return figures{}, err
	}
	if len(timing.all) > 0 {
		timing.lap("close the tracker")
		into.Setup = timing.all
	}
	return result, nil
}

// profile writes a CPU profile into the folder for artifacts, of a flood that is long enough for some hundred samples.
func profile(ctx context.Context, f *field, o observer) (err error) {
	file, err := os.Create(filepath.Join(os.Getenv("WAYBILL_ARTIFACTS"), profileFile))
	if err != nil {
		return fmt.Errorf("write a profile: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return fmt.Errorf("profile this process: %w", err)
	}
	defer pprof.StopCPUProfile() // before the file is closed
	for range 50 {
		if err := run(ctx, f, o); err != nil {
			return err
		}
	}
	return nil
}

// warmUp floods until the ring buffer has come round, so that all of its memory was touched.
func warmUp(ctx context.Context, f *field, o observer) error {
	from, err := ringTraffic()
	if err != nil {
		return err
	}
	const least, most = 2, 20
	for i := range most {
		if err := run(ctx, f, o); err != nil {
			return err
		}
		now, err := ringTraffic()
		if err != nil {
			return err
		}
		if i+1 >= least && (now == from || now-from > ringBytes) {
			break
		}
	}
	return nil
}

// floods measures one flood after another, and takes the median.
func (c floodCommand) floods(ctx context.Context, f *field, o observer, into *figures) error {
	var totals, own []float64
	k := clock{counts: c.Counts}
	for range c.Packets / part {
		if err := f.flood(0); err != nil { // this process has just waited for something
			return err
		}
		started := time.Now()
		from, err := k.now()
		if err != nil {
			return err
		}
		ownFrom, err := ownWork()
		if err != nil {
			return err
		}
		if err := run(ctx, f, o); err != nil {
			return err
		}
		ownTo, err := ownWork()
		if err != nil {
			return err
		}
		to, err := k.now()
		if err != nil {
			return err
		}
		into.Mean += float64(to-from) / float64(c.Packets)
		into.Elapsed += float64(time.Since(started)) / float64(c.Packets)
		totals = append(totals, float64(to-from)/part)
		own = append(own, float64(ownTo-ownFrom)/part)
	}
	into.Floods = slices.Clone(totals)
	slices.Sort(totals)
	slices.Sort(own)
	middle, last := len(totals)/2, len(totals)-1
	into.Cost, into.Least, into.Most, into.Reading = totals[middle], totals[0], totals[last], own[middle]
	return nil
}

// run floods once, and waits until all of it was read.
func run(ctx context.Context, f *field, o observer) error {
	if err := f.flood(part); err != nil {
		return err
	}
	return o.drain(ctx)
}
