package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
)

// result is all that one run of the flood gave. Times are in nanoseconds a packet; where the clock counts instructions, in
// instructions a packet.
type result struct {
	Kernel    string `json:"kernel"`
	Counts    bool   `json:"icount"`
	CPUs      int    `json:"cpus"`
	Packets   int    `json:"packets"`
	Functions int    `json:"functions"`
	// EventsPerPacket is how many events a datagram makes at the functions, as the kernel counted them.
	EventsPerPacket float64   `json:"events_per_packet"`
	Setup           []lap     `json:"setup,omitempty"`
	Variants        []figures `json:"variants"`
}

// figures are those of one variant.
type figures struct {
	Name    string `json:"name"`
	How     string `json:"how,omitempty"`
	Skipped bool   `json:"skipped,omitempty"` // How says why
	// Cost is the median of the floods, Least and Most their extremes: all that was done, the sending and receiving of the
	// packet included. Mean has in it what does not happen in every flood: garbage collection, above all.
	Cost  float64 `json:"cost"`
	Mean  float64 `json:"mean"`
	Least float64 `json:"least"`
	Most  float64 `json:"most"`
	// Floods are the measurements, in order.
	Floods []float64 `json:"floods,omitempty"`
	// Elapsed is the mean by wall clock.
	Elapsed float64 `json:"elapsed"`
	// Reading is what of it this process did, which reads.
	Reading   float64 `json:"reading"`
	Expected  uint64  `json:"expected"` // events that the flood makes
	Events    uint64  `json:"events"`
	Records   uint64  `json:"records"`
	Lost      uint64  `json:"lost"`
	RingBytes uint64  `json:"ring_bytes"`
	// Waits is how often a thread of this process went to sleep, and Allocations how many it made on the heap.
	Waits       uint64        `json:"waits"`
	Allocations uint64        `json:"allocations"`
	Programs    []programRuns `json:"programs,omitempty"`
	// ByFunction is how many events a datagram makes at each.
	ByFunction map[string]float64 `json:"by_function,omitempty"`
}

func (r *result) find(name string) (figures, bool) {
	for _, v := range r.Variants {
		if v.Name == name && !v.Skipped {
			return v, true
		}
	}
	return figures{}, false
}

// unit names a thousand of what costs are in.
func (r *result) unit() string {
	if r.Counts {
		return "k-insn"
	}
	return "µs"
}

// small names what costs are in.
func (r *result) small() string {
	if r.Counts {
		return "insn"
	}
	return "ns"
}

// unaccounted names the variants that saw less than there was, and more than they say that they lost. pwru says nothing.
func (r *result) unaccounted() error {
	var errs []error
	for _, v := range r.Variants {
		if v.Name != least && v.Name != full || v.Skipped || v.Events+v.Lost >= v.Expected {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %d of %d events were neither seen nor counted as lost", v.Name,
			v.Expected-v.Events-v.Lost, v.Expected))
	}
	return errors.Join(errs...)
}

// print writes the tables.
func (r *result) print(to io.Writer, verbose bool) {
	fmt.Fprintf(to, "kernel %s, %d CPU, %d datagrams, %d functions, %s a packet\n\n", r.Kernel, r.CPUs, r.Packets, r.Functions,
		r.unit())
	r.printVariants(to)
	r.printRatios(to)
	for _, l := range r.Setup {
		fmt.Fprintf(to, "%s: %.0f ms\n", l.Step, l.Milliseconds)
	}
	if verbose {
		r.printPrograms(to)
	}
}

func (r *result) printVariants(to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "cost\tfrom\tto\tmean\tmore\tan event\treading\twaits\tevents\tof\tlost\trecords\tbytes\tallocations\t  variant")
	fmt.Fprintln(w, "\t\t\t\t\t\t\ta packet\t\t\t\ta packet\tan event\tan event\t")
	base, _ := r.find(nothing)
	for _, v := range r.Variants {
		if v.Skipped {
			continue
		}
		more := v.Cost - base.Cost
		packets, events := float64(r.Packets), float64(v.Events)
		fmt.Fprintf(w, "%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\t%.1f\t%.2f\t%d\t%d\t%s\t%.1f\t%.0f\t%.2f\t  %s\n",
			v.Cost/1000, v.Least/1000, v.Most/1000, v.Mean/1000, more/1000, ratio(more/1000, r.EventsPerPacket), v.Reading/1000,
			float64(v.Waits)/packets, v.Events, v.Expected, v.lost(), float64(v.Records)/packets,
			ratio(float64(v.RingBytes), events), ratio(float64(v.Allocations), events), v.title())
	}
	_ = w.Flush()
	for _, v := range r.Variants {
		if v.Skipped {
			fmt.Fprintf(to, "%s: not measured: %s\n", v.Name, v.How)
		}
	}
	fmt.Fprintln(to)
}

// lost is empty for pwru, which does not say.
func (v figures) lost() string {
	if v.Name == pwruName {
		return ""
	}
	return strconv.FormatUint(v.Lost, 10)
}

func (v figures) title() string {
	if v.How == "" {
		return v.Name
	}
	return v.Name + " (" + v.How + ")"
}

// limits are what the project asks of itself, of instructions on Linux 6.12.
var limits = []struct {
	of, over string
	most     float64
}{
	{full, least, 1.6},
	{full, pwruName, 0.8},
	{outside, empty, 1.4},
}

func (r *result) printRatios(to io.Writer) {
	base, _ := r.find(nothing)
	for _, l := range limits {
		of, ok := r.find(l.of)
		over, ok2 := r.find(l.over)
		if !ok || !ok2 {
			continue
		}
		asked := ""
		if r.Counts {
			asked = fmt.Sprintf(", asked for at most %.1f", l.most)
		}
		fmt.Fprintf(to, "%s / %s: %.2f%s; without the packet's own cost %.2f\n", l.of, l.over, ratio(of.Cost, over.Cost), asked,
			ratio(of.Cost-base.Cost, over.Cost-base.Cost))
	}
}

// printPrograms shows where the cost of a variant is.
func (r *result) printPrograms(to io.Writer) {
	base, _ := r.find(nothing)
	for _, v := range r.Variants {
		if v.Skipped {
			continue
		}
		fmt.Fprintf(to, "\n%s: costs in order, %s:", v.title(), r.unit())
		for _, cost := range v.Floods {
			fmt.Fprintf(to, " %.1f", cost/1000)
		}
		if len(v.Programs) == 0 {
			fmt.Fprintln(to)
			continue
		}
		fmt.Fprintf(to, "\n%s: what each program did\n", v.title())
		w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintf(w, "runs a packet\t%s a run\t%s a packet\t  program\n", r.small(), r.unit())
		sum := 0.0
		for _, p := range v.Programs {
			sum += p.perPacket()
			fmt.Fprintf(w, "%.2f\t%.0f\t%.2f\t  %s (%s)\n", p.RunsPerPacket, p.NsPerRun, p.perPacket()/1000, p.Name, p.Type)
		}
		fmt.Fprintf(w, "\t\t%.2f\t  all programs\n", sum/1000)
		fmt.Fprintf(w, "\t\t%.2f\t  this process, which reads\n", v.Reading/1000)
		if r.Counts { // by the clock, programs and reader run side by side
			fmt.Fprintf(w, "\t\t%.2f\t  the rest: getting into programs, waking the reader\n",
				(v.Cost-base.Cost-sum-v.Reading+base.Reading)/1000)
		}
		_ = w.Flush()
		for _, name := range functions {
			if n, ok := v.ByFunction[name]; ok {
				fmt.Fprintf(to, "events a packet at %s: %.2f\n", name, n)
			}
		}
	}
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
