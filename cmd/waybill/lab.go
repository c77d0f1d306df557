package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/waybill-dev/waybill/topology"
	"github.com/waybill-dev/waybill/topology/named"
)

// labCommand builds labs that live on, for use by hand.
type labCommand struct {
	Up   labUpCommand   `cmd:"" help:"Build the network of a file."`
	List labListCommand `cmd:"" help:"List the labs."`
	Exec labExecCommand `cmd:"" help:"Run a program in a node."`
	Dump labDumpCommand `cmd:"" help:"Print a script that builds a lab's network by hand."`
	Down labDownCommand `cmd:"" help:"Take a lab down."`
}

type labUpCommand struct {
	File string `arg:"" help:"The network, in YAML (docs/topology.md)."`
	Name string `arg:"" optional:"" help:"The name of the lab (that of the file)."`
}

// Help is shown by waybill lab up --help.
func (labUpCommand) Help() string {
	return "The lab lives until waybill lab down, or until this machine is booted again. Its nodes are network namespaces that ip " +
		"netns knows as LAB.NODE. If anything fails, or a signal comes, nothing of it remains."
}

// Run builds a lab.
func (c labUpCommand) Run(ctx context.Context) error {
	network, err := topology.ReadFile(c.File)
	if err != nil {
		return err
	}
	name := c.Name
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(c.File), filepath.Ext(c.File))
		if err := named.CheckName(name); err != nil {
			return fmt.Errorf("%w: waybill lab up %s NAME", err, c.File)
		}
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	lab, err := named.Up(ctx, name, network)
	if cause := context.Cause(ctx); err != nil && cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	if err != nil {
		return err
	}
	fmt.Printf("Lab %s is up, with %s.\nTry waybill lab exec %s -- ip addr\n", lab.Name, enumeration(lab.Nodes), lab.Nodes[0])
	return nil
}

// enumeration lists words as in a sentence.
func enumeration(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

type labListCommand struct{}

// Run lists labs.
func (labListCommand) Run() error {
	labs, err := named.List()
	if err != nil {
		return err
	}
	if len(labs) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LAB\tSTATE\tNODES")
	for _, lab := range labs {
		state := string(lab.State)
		if lab.State == named.Busy {
			state += fmt.Sprintf(" (process %d)", lab.Builder)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", lab.Name, state, strings.Join(lab.Nodes, " "))
	}
	return w.Flush()
}

type labExecCommand struct {
	Lab     string   `short:"l" placeholder:"NAME" help:"The lab that the node is in (the only one)."`
	Node    string   `arg:"" help:"The node."`
	Command []string `arg:"" name:"program" passthrough:"" help:"The program, and its arguments."`
}

// Run runs a program in a node, in the place of this one.
func (c labExecCommand) Run() error {
	command := c.Command
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		return errors.New("no program to run was named: waybill lab exec NODE -- PROGRAM ARGS")
	}
	lab, err := named.Find(c.Lab)
	if err != nil {
		return err
	}
	return lab.Exec(c.Node, command, os.Environ())
}

type labDumpCommand struct {
	Name string `arg:"" optional:"" help:"The lab (the only one)."`
}

// Run prints a script.
func (c labDumpCommand) Run(ctx context.Context) error {
	lab, err := named.Find(c.Name)
	if err != nil {
		return err
	}
	text, err := lab.Dump(ctx)
	if err != nil {
		return err
	}
	_, err = os.Stdout.WriteString(text)
	return err
}

type labDownCommand struct {
	Name string `arg:"" optional:"" help:"The lab (the only one)."`
	All  bool   `help:"Take all labs down."`
	Kill bool   `help:"Kill what runs in its nodes."`
}

// Run takes labs down.
func (c labDownCommand) Run(ctx context.Context) error {
	if c.All && c.Name != "" {
		return errors.New("--all and the name of a lab do not go together: leave one out")
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	var labs []named.Lab
	if c.All {
		all, err := named.List()
		if err != nil {
			return err
		}
		labs = all
	} else {
		lab, err := named.Find(c.Name)
		if err != nil {
			return err
		}
		labs = []named.Lab{lab}
	}
	var faults []error
	for _, lab := range labs {
		faults = append(faults, lab.Down(ctx, named.DownOptions{Kill: c.Kill}))
	}
	return errors.Join(faults...)
}
