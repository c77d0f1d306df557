package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/waybill-dev/waybill/bpf"
	"github.com/waybill-dev/waybill/harness"
	"github.com/waybill-dev/waybill/journey"
	"github.com/waybill-dev/waybill/packet"
	"github.com/waybill-dev/waybill/topology"
)

// demoRules are the server's ruleset. The first rule makes conntrack look at the packets.
const demoRules = `table inet filter {
	chain input {
		type filter hook input priority filter; policy accept;
		ct state established accept
		udp dport 8080 drop comment "no metrics from outside"
	}
}
`

type demoCommand struct {
	Kernel  string `default:"${defaultKernel}" help:"Kernel of the VM, where this machine's own cannot be observed (${default})."`
	Port    string `default:"8080" placeholder:"N" help:"Destination port of the datagram (${default})."`
	NFT     string `name:"nft" placeholder:"FILE" help:"nftables ruleset of the server, instead of the demo's own."`
	JSON    bool   `name:"json" help:"Print the journey as JSON."`
	Here    bool   `help:"Use this machine's own kernel, or fail."`
	NFTText string `name:"nft-text" hidden:"" help:"The ruleset itself."`
}

// Help is shown by waybill demo --help.
func (demoCommand) Help() string {
	return "Two namespaces, client and server, are joined by a cable. The client sends three bytes by UDP to a port that the " +
		"server's firewall drops, and the journey of that packet is printed: where it was seen, which rule judged it, and " +
		"what became of it."
}

// Run shows the demo here if it can, and in a VM otherwise.
func (c demoCommand) Run(ctx context.Context) error {
	port, err := strconv.ParseUint(c.Port, 10, 16)
	if err != nil || port == 0 {
		return fmt.Errorf("--port %s: give a number from 1 to 65535", c.Port)
	}
	rules := demoRules
	switch {
	case c.NFTText != "":
		rules = c.NFTText
	case c.NFT != "":
		text, err := os.ReadFile(c.NFT)
		if err != nil {
			return fmt.Errorf("--nft: %w", err)
		}
		rules = string(text)
	}
	store, err := kernelStore()
	if err != nil {
		return err
	}
	if err := store.Check(c.Kernel); err != nil {
		return err
	}
	if why := unobservable(ctx); why != nil {
		if c.Here {
			return fmt.Errorf("%w; leave out --here to use a VM", why)
		}
		fmt.Fprintf(os.Stderr, "%s Showing the demo in a VM with kernel %s.\n", whyVM(why), c.Kernel)
		return c.inVM(ctx, rules)
	}
	return c.here(ctx, rules, uint16(port))
}

var errNotRoot = errors.New("observing packets needs root")

// unobservable tells why this kernel cannot be observed by this user; nil if it can, or if something else is wrong, which
// the demo itself will say.
func unobservable(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	err := harness.Functions(ctx)
	if errors.Is(err, bpf.ErrNoFunctionProbes) || errors.Is(err, bpf.ErrNoBTF) {
		return err
	}
	return nil
}

func whyVM(err error) string {
	switch {
	case errors.Is(err, errNotRoot):
		return "Observing packets on this machine's kernel needs root."
	case errors.Is(err, bpf.ErrNoBTF):
		return "This machine's kernel has no BTF."
	}
	return "This machine's kernel does not allow function probes."
}

func (c demoCommand) inVM(ctx context.Context, rules string) error {
	args := []string{"demo", "--here", "--port", c.Port, "--nft-text", rules}
	if c.JSON {
		args = append(args, "--json")
	}
	return outcome(runInVM(ctx, c.Kernel, args, []string{"nft"}))
}

func (c demoCommand) here(ctx context.Context, rules string, port uint16) error {
	var j *journey.Journey
	err := harness.Run(func(t harness.T) {
		var net topology.Network
		client := net.Add(topology.Node{Name: "client"})
		server := net.Add(topology.Node{Name: "server", NFT: rules})
		net.Connect(client, server)
		lab := harness.New(t, &net)
		lab.Listen(server, port)
		j = lab.Follow(ctx, client, packet.UDP{To: server, DstPort: port, Payload: []byte("abc")},
			harness.TraceOptions{Functions: []string{"ip_local_deliver"}, WithoutMilestones: true})
	})
	if err != nil {
		return err
	}
	if c.JSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(j)
	}
	fmt.Printf("%s\nThe packet was %s.\n", j.Text(), j.Sentence())
	return nil
}
