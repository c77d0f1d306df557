package topology

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/internal/netns"
)

// ErrRuleUnknown is wrapped by the errors of [Running.Rule] when nobody can say for certain which rule it was.
var ErrRuleUnknown = errors.New("the rule's text is not known")

// UnknownRuleError is the error of [Running.Rule]. It is [ErrRuleUnknown] with the reason.
type UnknownRuleError struct {
	What string // the rule, as the kernel's trace names it
	Why  string
}

func (e *UnknownRuleError) Error() string {
	return fmt.Sprintf("%v: %s: %s", ErrRuleUnknown, e.What, e.Why)
}

// Unwrap returns [ErrRuleUnknown].
func (e *UnknownRuleError) Unwrap() error { return ErrRuleUnknown }

// RuleRef names a rule as the kernel's trace does.
type RuleRef struct {
	// Table is the table's name. TableHandle tells tables of different families apart; if it is 0 the name must be
	// unique.
	Table       string
	TableHandle uint64
	Chain       string
	// Handle is the rule's handle; 0 means the chain's policy.
	Handle uint64
}

// Rule is a rule, or a chain's policy, as nft lists it.
type Rule struct {
	// Family is the table's: inet, ip, ip6, arp, bridge or netdev.
	Family string
	// Text is the rule without its handle, such as `udp dport 8080 drop comment "no"`, or `policy drop`. Counters and
	// quotas show no numbers.
	Text string
	// Comment is the rule's comment, if it has one.
	Comment string
}

// Ruleset is a state of a node's ruleset with the time in which it is known to have been in force.
type Ruleset struct {
	// From and To are in nanoseconds of CLOCK_MONOTONIC, both included.
	From, To uint64
	// Generation is the kernel's number of the state.
	Generation uint32
	// Text is what nft -a -s list ruleset printed.
	Text string
}

// history keeps every state of one namespace's ruleset.
//
// The kernel numbers the states: the generation. A state is in force between two moments at which the same generation
// was read, so its interval begins after the first reading (when the answer was there) and ends before the last (when
// the question was put). Whatever is outside every interval is unknown: never guessed.
type history struct {
	ns *netns.NS

	mu     sync.Mutex
	socket *nftSocket // nil until something was loaded
	states []*state
}

type state struct {
	Ruleset
	rules map[RuleRef]Rule
	// unreadable says why the rules of this state are not known although its interval is.
	unreadable error
	// after says what ended the interval; empty while it can still be extended.
	after string
}

// monotonic is the time in nanoseconds of CLOCK_MONOTONIC, the clock that probes use.
func monotonic() (uint64, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, fmt.Errorf("read the monotonic clock: %w", err)
	}
	return uint64(now.Nano()), nil
}

// load has nft load a text, and records the state that results.
func (h *history) load(ctx context.Context, text string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.socket == nil {
		socket, err := openNFTSocket(h.ns)
		if err != nil {
			return err
		}
		h.socket = socket
	}
	// As late as possible, for the old state to be vouched for as long as possible.
	if err := h.extend(); err != nil {
		return err
	}
	if err := loadNFT(ctx, h.ns, text); err != nil {
		return err // the old state stays in force
	}
	h.end("the ruleset was being replaced at that moment")
	return h.record(ctx)
}

// check extends the interval of the newest state up to now or, if somebody else changed the ruleset, ends it and records
// the state that is in force.
func (h *history) check(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.socket == nil {
		return nil
	}
	if err := h.extend(); err != nil {
		return err
	}
	if newest := h.newest(); newest != nil && newest.after == "" {
		return nil
	}
	return h.record(ctx)
}

func (h *history) newest() *state {
	if len(h.states) == 0 {
		return nil
	}
	return h.states[len(h.states)-1]
}

// end closes the newest state's interval, unless it is closed already.
func (h *history) end(reason string) {
	if newest := h.newest(); newest != nil && newest.after == "" {
		newest.after = reason
	}
}

// extend moves the end of the newest state's interval to now, or closes it if the generation is another.
func (h *history) extend() error {
	newest := h.newest()
	if newest == nil || newest.after != "" {
		return nil
	}
	before, err := monotonic()
	if err != nil {
		return err
	}
	generation, err := h.socket.generation()
	if err != nil {
		return err
	}
	if generation == newest.Generation {
		newest.To = before
	} else {
		h.end("somebody else changed the ruleset around that moment")
	}
	return nil
}

// record lists the ruleset and, if it stayed the same meanwhile, begins a new state. If it did not, the next check will.
func (h *history) record(ctx context.Context) error {
	first, err := h.socket.generation()
	if err != nil {
		return err
	}
	from, err := monotonic()
	if err != nil {
		return err
	}
	text, err := listNFT(ctx, h.ns)
	if err != nil {
		return err
	}
	known, err := h.socket.rules()
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
		return err
	}
	to, err := monotonic()
	if err != nil {
		return err
	}
	last, err := h.socket.generation()
	if err != nil {
		return err
	}
	if first != last {
		h.end("somebody else changed the ruleset around that moment")
		return nil
	}
	next := &state{Ruleset: Ruleset{From: from, To: to, Generation: first, Text: text}}
	next.rules, next.unreadable = readRules(text, known)
	h.states = append(h.states, next)
	return nil
}

// rule finds what was in force at a moment.
func (h *history) rule(at uint64, ref RuleRef) (Rule, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	unknown := func(why string) error {
		what := fmt.Sprintf("rule %d of chain %s in table %s", ref.Handle, ref.Chain, ref.Table)
		if ref.Handle == 0 {
			what = fmt.Sprintf("policy of chain %s in table %s", ref.Chain, ref.Table)
		}
		return &UnknownRuleError{What: what, Why: why}
	}

	// The last state that began before.
	var in *state
	for _, state := range h.states {
		if state.From <= at {
			in = state
		}
	}
	switch {
	case len(h.states) == 0:
		return Rule{}, unknown("no ruleset was loaded through this network")
	case in == nil:
		return Rule{}, unknown("no ruleset had been loaded through this network by then")
	case at > in.To && in.after != "":
		return Rule{}, unknown(in.after)
	case at > in.To:
		return Rule{}, unknown("the ruleset has not been checked since then")
	case in.unreadable != nil:
		return Rule{}, unknown(in.unreadable.Error())
	}
	if rule, ok := in.rules[ref]; ok {
		return rule, nil
	}
	if anonymousChain(ref.Chain) {
		return Rule{}, unknown("nft does not list the handles of rules in a chain without name")
	}
	return Rule{}, unknown("the ruleset in force at that moment has none")
}

// rulesets copies what is known.
func (h *history) rulesets() []Ruleset {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]Ruleset, 0, len(h.states))
	for _, state := range h.states {
		list = append(list, state.Ruleset)
	}
	return slices.Clip(list)
}

func (h *history) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.socket != nil {
		h.socket.close()
		h.socket = nil
	}
}
