package bpf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Options configure a [Tracker]. The zero value serves.
type Options struct {
	// RingBytes is the size of the buffer between kernel and reader, a power of two of at least one page. Zero means
	// 16 MiB, which holds about 150,000 events.
	RingBytes int
	// Packets is how many packets may be alive at once, of all scopes together; zero means 65,536. What does not fit is not
	// followed, and counted.
	Packets int
	// Tier is what the tracker may use. The zero value is the best that the kernel allows.
	Tier Tier
	// PacketFilter and MetaFilter choose among the packets in scope: by their bytes, as [filter.CompilePacket] takes it, and by
	// the fields of their sk_buff ([filter.CompileMeta]). Of an expression that is wrong, the error wraps a [*filter.Error]. Both
	// must match; an empty one matches everything.
	//
	// They are asked once: when a packet is first seen, which with filters is at the latest when IP is about to send it, when it
	// is given to a device, or when a device has received it. A packet that matched is followed from then on, and one that did
	// not is not looked at again, whatever becomes of it. If it cannot be told, that is counted as a loss of the scope, and the
	// packet is asked about at its next sight.
	PacketFilter, MetaFilter string

	// trim leaves programs out before they are loaded: for tests that open many trackers.
	trim func(*ebpf.CollectionSpec)

	// functions is the name of the family of programs that observe functions, instead of the first that the kernel has:
	// for tests.
	functions string
}

// Tracker is the set of programs that follow packets, attached. It is safe for concurrent use.
type Tracker struct {
	catalog    catalog
	spec       *ebpf.CollectionSpec         // what collection was made of
	options    ebpf.CollectionOptions       // how it was loaded
	entries    map[string]*ebpf.ProgramSpec // programs of which one is loaded for each probe that is armed
	relocated  map[string]bool              // which of them are as the kernel wants them
	shared     map[string]*ebpf.ProgramSpec // programs that serve all functions
	loaded     map[string]*ebpf.Program     // those of them that are loaded; guarded by arming, like relocated
	collection *ebpf.Collection
	tier       Tier
	noFunction error // why functions cannot be observed, on the tier of tracepoints
	family     family
	oneWay     bool // observe functions by the family only: for tests
	nft        verdictProbe
	pages      bool                 // bytes in pages are captured
	filtered   bool                 // there are filters
	absent     []string             // functions without which the tracker works
	hooks      map[string]link.Link // what is always attached, by program
	pins       *pins
	reader     *ringbuf.Reader
	readerDone chan struct{}
	decoder    decoder // of the reader
	losses     missCounters

	wishing    sync.Mutex // guards attended and metaWanted
	attended   int
	metaWanted int

	forgetting sync.Mutex  // guards forgotten
	forgotten  uint64      // skipped ends of packets, when all were last forgotten
	blinded    atomic.Bool // there was no pulse since

	arming sync.Mutex // guards probes
	probes probes

	mu                      sync.Mutex
	scopes                  map[uint32]*Scope
	everywhere              *Scope // that of every namespace in no other; nil if there is none
	reading                 *Scope // whose record was read last
	firstCookie, lastCookie uint64 // of namespaces that were watched
	lastScope               uint32
	waiting                 []chan struct{} // of those who wait for room in the ring
	barriers                map[uint64]chan uint64
	lastBar                 uint64
	readErr                 error
	closed                  bool
}

// optional lists the functions that a kernel may lack, because the compiler made them part of their callers or because
// they are not there at all. Everything else is needed for what the tracker promises.
var optional = slices.Concat(linking, []string{
	"pskb_carve_inside_header", "pskb_carve_inside_nonlinear", "skb_attempt_defer_free", "tpacket_rcv", "packet_rcv",
	"__ip6_local_out", "tcp_queue_rcv", "tcp_data_queue", "dev_qdisc_enqueue", "ipv6_frag_rcv",
})

// linking lists the functions by which links between packets are told. Without one, some are not told: see [Tracker.Unlinked].
var linking = []string{
	"skb_copy_header", "ip_copy_metadata", "ip6_copy_metadata", "skb_split", "skb_segment", "skb_try_coalesce", "skb_gro_receive",
	"arp_rcv", "icmp_rcv", "icmpv6_rcv", "tcp_v4_rcv", "tcp_v6_rcv", "tcp_v4_do_rcv", "tcp_v6_do_rcv", "__icmp_send", "icmp6_send",
	"nf_hook_slow",
}

// Open loads and attaches the tracker. It fails with [ErrNoBTF], and with [ErrNoFunctionProbes] where [Options.Tier] asks for
// functions and the kernel does not allow programs there, or where this user may not load any program.
//
// Modules whose functions are to be observed by the tracker itself, nf_tables above all, must be loaded before.
func Open(opts Options) (*Tracker, error) {
	t := &Tracker{
		catalog:    newCatalog(),
		scopes:     make(map[uint32]*Scope),
		probes:     probes{byRequest: make(map[request]*probe)},
		barriers:   make(map[uint64]chan uint64),
		hooks:      make(map[string]link.Link),
		relocated:  make(map[string]bool),
		loaded:     make(map[string]*ebpf.Program),
		readerDone: make(chan struct{}),

		firstCookie: math.MaxUint64,
	}
	var err error
	if t.tier, t.noFunction, err = chooseTier(opts.Tier, t.catalog.cache); err != nil {
		return nil, err
	}
	t.pins = newPins()
	if err := t.load(opts); err != nil {
		close(t.readerDone) // nobody reads yet
		return nil, errors.Join(err, t.Close())
	}
	go t.read()
	// The first barrier shows that the ring works, and gets the loader's own test runs out of the way.
	if _, err := t.Barrier(context.Background()); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Tracker) load(opts Options) error {
	kernel, err := kernelTypes(t.catalog.cache)
	if err != nil {
		return err
	}
	if t.spec, err = t.readPrograms(); err != nil {
		return fmt.Errorf("read the tracker's programs: %w", err)
	}
	if err := t.useFilters(opts); err != nil {
		return err
	}
	if opts.trim != nil {
		opts.trim(t.spec)
	}
	ring := t.spec.Maps[trackerMapRecords]
	if opts.RingBytes != 0 {
		ring.MaxEntries = uint32(opts.RingBytes)
	}
	if opts.Packets != 0 {
		t.spec.Maps[trackerMapIdentities].MaxEntries = uint32(opts.Packets)
	}
	if err := t.spec.Variables[trackerVarWakeAt].Set(uint64(ring.MaxEntries / 4)); err != nil {
		return fmt.Errorf("set when the reader is woken: %w", err)
	}
	nft, err := t.catalog.cache.Module(nftModule)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the types of %s: %w", nftModule, err)
	}
	t.options = ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{KernelTypes: kernel}, Cache: t.catalog.cache}
	if nft != nil {
		t.options.Programs.ExtraRelocationTargets = []*btf.Spec{nft}
	}

	exchanges := t.findExchanges()
	t.useFamily(kernel, nft, opts)
	if err := t.leaveOutTracepoints(kernel); err != nil {
		return err
	}
	if err := t.leaveOut(kernel); err != nil {
		return err
	}
	if t.collection, err = t.loadCollection(); err != nil {
		return loadError(err)
	}
	if err := t.tryFamily(kernel, nft, opts); err != nil {
		return err
	}

	pages, err := t.collection.Programs[trackerProgFindPages].Run(nil)
	if err != nil {
		return fmt.Errorf("find the kernel's pages: %w", err)
	}
	t.pages = pages == 1
	t.decoder.stacks.ask = t.nameSymbol
	if t.decoder.reasons, err = loadDropReasons(t.catalog.cache); err != nil {
		return err
	}
	if err := t.setExchanges(<-exchanges); err != nil {
		return err
	}
	if t.reader, err = ringbuf.NewReader(t.collection.Maps[trackerMapRecords]); err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	if err := t.attachAlways(); err != nil {
		return err
	}
	t.forgetSources()
	if beats, err := t.beats(); err != nil || !beats {
		return errors.Join(err, fmt.Errorf("%w: %s", ErrNoFunctionProbes, switchedOff))
	}
	return nil
}

// forgetSources lets go of what will not be loaded again, and of the lines of C that instructions were compiled from: they
// are two thirds of the objects that each garbage collection would go through, and loading a program without them is
// quicker.
func (t *Tracker) forgetSources() {
	t.spec.Programs = nil
	for _, programs := range []map[string]*ebpf.ProgramSpec{t.entries, t.shared} {
		for _, program := range programs {
			for i, instruction := range program.Instructions {
				if btf.FuncMetadata(&instruction) == nil { // of a function the kernel wants no line at all, or the first
					program.Instructions[i] = instruction.WithSource(nil)
				}
			}
		}
	}
}

// leaveOut removes the programs of functions that the kernel does not have, if the tracker does without them.
func (t *Tracker) leaveOut(kernel *btf.Spec) error {
	var needed []string
	for name, program := range t.spec.Programs {
		if program.AttachType != ebpf.AttachTraceFEntry && program.AttachType != ebpf.AttachTraceFExit {
			continue
		}
		_, err := findFunction(kernel, program.AttachTo)
		switch {
		case err == nil:
			continue
		case !errors.Is(err, btf.ErrNotFound):
			return fmt.Errorf("look for the function %s: %w", program.AttachTo, err)
		case !slices.Contains(optional, program.AttachTo):
			needed = append(needed, program.AttachTo)
		default:
			t.absent = append(t.absent, program.AttachTo)
			delete(t.spec.Programs, name)
		}
	}
	sorted := func(names []string) []string { slices.Sort(names); return slices.Compact(names) }
	t.absent = sorted(t.absent)
	if needed = sorted(needed); len(needed) > 0 {
		return fmt.Errorf("%w: this kernel has no function %s, at which the tracker follows packets", ErrNoFunctionProbes,
			strings.Join(needed, ", nor "))
	}
	return nil
}

// again is how the second program of a hook is named after the first, and yetAgain how the third is, where there is one.
const again, yetAgain = "_again", "_yet" + again

// attachAlways attaches what follows a packet's life, and the drop tracepoint. The order matters: ends first, so that no
// identity is given before its end would be seen. And of a hook's two programs the first must run first: at functions,
// that is the one that was attached last (hlist_add_head in kernel/bpf/trampoline.c), at tracepoints the other (func_add in
// kernel/tracepoint.c).
func (t *Tracker) attachAlways() error {
	t.losses.stoodIn = t.collection.Variables[trackerVarStoodIn]
	var ends, rest []string
	for name, program := range t.collection.Programs {
		if strings.HasSuffix(name, again) {
			continue
		}
		t.losses.watch(missCounter{name: name, program: program, part: partOf(name, program)})
		switch {
		case program.Type() != ebpf.Tracing && program.Type() != ebpf.RawTracepoint:
		case slices.Contains([]string{trackerProgIpLocalOut, trackerProgIp6LocalOut, trackerProgDevQueueXmit,
			trackerProgDevDirectXmit, trackerProgKfreeSkb, trackerProgAtNetifReceiveSkb}, name), slices.Contains(firstSights, name):
			rest = append(rest, name)
		default:
			ends = append(ends, name)
		}
	}
	slices.Sort(ends)
	slices.Sort(rest)
	for _, name := range append(ends, rest...) {
		programs := []string{name + yetAgain, name + again, name}
		if isAtTracepoint(t.spec.Programs[name]) {
			slices.Reverse(programs)
		}
		for _, name := range programs {
			program := t.collection.Programs[name]
			if program == nil {
				continue // not all have a second program, and few a third
			}
			l, err := attachHook(program, t.spec.Programs[name])
			if errors.Is(err, unix.E2BIG) {
				if strings.HasSuffix(name, again) {
					continue
				}
				if err := t.makePlace(t.spec.Programs[name].AttachTo); err != nil {
					return err
				}
				l, err = attachHook(program, t.spec.Programs[name])
			}
			if err != nil {
				return loadError(fmt.Errorf("attach %s: %w", strings.ReplaceAll(name, "_exit", ""), crowded(err)))
			}
			t.hooks[name] = l
			if err := t.pins.add(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// makePlace takes the second programs off a function at which the kernel lets no more be: 38 (BPF_MAX_TRAMP_LINKS,
// include/linux/bpf.h), entries and returns of all trackers together, or fewer where the code that calls them fills its page
// before (7.2 and 7.3). What is skipped of the first ones is then missed; it is counted as ever.
func (t *Tracker) makePlace(function string) error {
	var errs []error
	for name, l := range t.hooks {
		if strings.HasSuffix(name, again) && t.spec.Programs[name].AttachTo == function {
			errs = append(errs, t.pins.remove(l), l.Close())
			delete(t.hooks, name)
		}
	}
	return errors.Join(errs...)
}

// crowded says what the kernel means by "argument list too long".
func crowded(err error) error {
	if !errors.Is(err, unix.E2BIG) {
		return err
	}
	return fmt.Errorf("the kernel lets no more programs be at this function: "+
		"let fewer processes observe at the same time, ten at most: %w", err)
}

// logLines is how much of the verifier's log is shown. All of it may be a hundred thousand lines.
const logLines = 30

// release is the running kernel's.
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of an unknown release"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// loadError turns what the kernel answers where programs at functions are not allowed into one sentence.
func loadError(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		// err names the program; what is wrong with it is at the end of the log.
		end := verifier.Log[max(0, len(verifier.Log)-logLines):]
		return fmt.Errorf("load the tracker on Linux %s %s: %w\n%s", release(), runtime.GOARCH, err, strings.Join(end, "\n"))
	case errors.Is(err, unix.EPERM):
		// The loader's own words would send the reader looking for memory limits.
		return fmt.Errorf("%w: the kernel refuses to load them; run as root, on a kernel that is not locked down",
			ErrNoFunctionProbes)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: %w", ErrNoFunctionProbes, err)
	}
	return fmt.Errorf("load the tracker: %w", err)
}

func (t *Tracker) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// Close detaches everything. Scopes that are still open receive nothing any more. It may be called again.
func (t *Tracker) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	scopes := make([]*Scope, 0, len(t.scopes))
	for _, s := range t.scopes {
		scopes = append(scopes, s)
	}
	t.mu.Unlock()

	var errs []error
	for _, s := range scopes {
		errs = append(errs, s.Close())
	}
	// First the pins, so that links are gone when they are closed.
	errs = append(errs, t.pins.close())
	for _, l := range t.hooks {
		errs = append(errs, l.Close())
	}
	if t.reader != nil {
		errs = append(errs, t.reader.Close())
	}
	<-t.readerDone
	t.arming.Lock()
	for _, program := range t.loaded {
		errs = append(errs, program.Close())
	}
	t.arming.Unlock()
	if t.collection != nil {
		t.collection.Close()
	}
	return errors.Join(errs...)
}
