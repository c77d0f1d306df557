package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/waybill-dev/waybill/bpf"
)

type inspectCommand struct {
	Kernel  string `placeholder:"KERNEL" help:"Inspect this kernel, in a VM (this machine's own, or where that cannot be observed ${defaultKernel})."`
	JSON    bool   `name:"json" help:"Print JSON: an array of places."`
	Here    bool   `help:"Use this machine's own kernel, or fail."`
	Pattern string `arg:"" optional:"" help:"What to look for, as in ip_rcv, 'tcp_v4_*', kr:ip_rcv, 'tp:net:*' (everything)."`
}

// Help is shown by waybill inspect --help.
func (inspectCommand) Help() string {
	return "A function can be observed if one of its arguments is a packet (struct sk_buff *) that the kernel's types tell, and " +
		"the kernel lets programs attach to it. What takes a packet and cannot be observed is listed with the reason, and a name " +
		"that is not there with those that come near. The probes are printed as traces take them; kr: before a function is its " +
		"return, and /stack behind a probe adds the kernel's stack. The modules that are not loaded are not looked into."
}

// Run inspects this kernel if it can be observed, and another one in a VM otherwise.
func (c inspectCommand) Run(ctx context.Context) error {
	if c.Here && c.Kernel != "" {
		return errors.New("--here and --kernel do not go together: leave one out")
	}
	if c.Pattern != "" {
		if err := bpf.CheckProbe(c.Pattern); err != nil {
			return err
		}
	}
	kernel := c.Kernel
	if kernel == "" {
		why := uninspectable()
		if why == nil {
			return c.here(os.Stdout)
		}
		if c.Here && errors.Is(why, bpf.ErrNoFunctionProbes) {
			fmt.Fprintf(os.Stderr, "%s Labs see drops and what devices send and receive (the tier of tracepoints). "+
				"Leave out --here to inspect a kernel in a VM.\n", whyVM(why))
			return c.here(os.Stdout)
		}
		if c.Here {
			return fmt.Errorf("%w; leave out --here to use a VM", why)
		}
		kernel = defaultKernel
		fmt.Fprintf(os.Stderr, "%s Inspecting kernel %s in a VM.\n", whyVM(why), kernel)
	}
	args := []string{"inspect", "--here"}
	if c.JSON {
		args = append(args, "--json")
	}
	if c.Pattern != "" {
		args = append(args, "--", c.Pattern)
	}
	return outcome(runInVM(ctx, kernel, args, nil))
}

// uninspectable tells why this kernel cannot be observed by this user; nil if it can.
func uninspectable() error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	return bpf.FunctionProbes()
}

func (c inspectCommand) here(out io.Writer) error {
	places, err := bpf.Inspect(c.Pattern)
	if err != nil {
		return err
	}
	if c.JSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(places)
	}
	_, err = io.WriteString(out, table(c.Pattern, places))
	return err
}

// table prints what can be observed, then what cannot and why.
func table(pattern string, places []bpf.Place) string {
	var can, cannot []bpf.Place
	for _, p := range places {
		if p.WhyNot == "" {
			can = append(can, p)
		} else {
			cannot = append(cannot, p)
		}
	}
	var text strings.Builder
	if len(places) == 0 {
		fmt.Fprintf(&text, "Nothing that takes a packet has a name like %s.\n", pattern)
		return text.String()
	}
	if len(can) > 0 {
		columns := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(columns, "PROBE\tPACKET\tRETURNS\tMODULE")
		for _, p := range can {
			_, _ = fmt.Fprintf(columns, "%s\t%d: %s\t%s\t%s\n", p.Probe, p.Argument, p.Type, dash(p.Returns), dash(p.Module))
		}
		_ = columns.Flush()
	}
	if len(cannot) > 0 {
		if len(can) > 0 {
			text.WriteString("\n")
		}
		text.WriteString("Not to be observed:\n")
		for _, p := range cannot {
			module := ""
			if p.Module != "" {
				module = " (" + p.Module + ")"
			}
			fmt.Fprintf(&text, "  %s%s: %s\n", p.Probe, module, p.WhyNot)
		}
	}
	if len(places) > 1 {
		fmt.Fprintf(&text, "\n%d can be observed, %d cannot.\n", len(can), len(cannot))
	}
	return text.String()
}

// dash stands for an empty field, so that columns can be told apart.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
