package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-quicktest/qt"
	"golang.org/x/mod/modfile"
)

// TestRepository holds this repository to its rules.
func TestRepository(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	qt.Assert(t, qt.IsNil(err))
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	qt.Assert(t, qt.IsNil(err), qt.Commentf("the test reads the sources of the repository"))
	faults, err := check(os.DirFS(root), modfile.ModulePath(mod))
	qt.Assert(t, qt.IsNil(err))
	for _, fault := range faults {
		t.Error(fault)
	}
}

const module = "example.org/waybill"

// source is a Go file of a made-up repository.
func source(pkg string, imports ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "// Package %s is made up.\npackage %s\n\n", pkg, pkg)
	for _, i := range imports {
		name, dot := strings.CutPrefix(i, ". ")
		switch {
		case dot:
			fmt.Fprintf(&b, "import . %q\n", name)
		default:
			fmt.Fprintf(&b, "import %q\n", i)
		}
	}
	return b.String()
}

// TestCheck: what follows the rules passes, and each violation is found, in a repository that has no other.
func TestCheck(t *testing.T) {
	long := strings.Repeat("// line\n", longest)
	for _, test := range []struct {
		name  string
		files map[string]string
		want  []string
	}{{
		name: "as it should be",
		files: map[string]string{
			"journey/event.go":          source("journey", "fmt", "github.com/gopacket/gopacket"),
			"journey/event_test.go":     source("journey", module+"/internal/golden"),
			"bpf/tracker.go":            source("bpf", "github.com/cilium/ebpf/link", module+"/journey", module+"/bpf/filter"),
			"bpf/filter/compile.go":     source("filter"),
			"topology/up.go":            source("topology", "github.com/vishvananda/netlink", module+"/internal/netns"),
			"internal/netns/netns.go":   source("netns", "github.com/vishvananda/netns", "golang.org/x/sys/unix"),
			"internal/golden/golden.go": source("golden"),
			"harness/lab.go":            source("harness", module+"/bpf", module+"/topology"),
			"suites/x/x_test.go":        source("x_test", ". github.com/onsi/gomega", ". "+module+"/assert", module+"/harness"),
			"cmd/waybill/main.go":       source("main", module+"/vm", module+"/harness"),
			"cmd/testdata/odd.go":       "no Go at all",
			"vm/run.go":                 source("vm", module+"/vm/kernel"),
			"vm/kernel/kernel.go":       source("kernel"),
		},
	}, {
		name:  "journey imports another package",
		files: map[string]string{"journey/a.go": source("journey", module+"/packet")},
		want:  []string{"journey/a.go: imports packet; journey may import nothing of ours"},
	}, {
		name:  "journey asks the system",
		files: map[string]string{"journey/a.go": source("journey", "golang.org/x/sys/unix")},
		want: []string{"journey/a.go: imports golang.org/x/sys/unix, which is for " +
			"bpf, topology, packet, harness, collect, suites, vm, ci, cmd, internal, bench"},
	}, {
		name:  "bpf sees topology",
		files: map[string]string{"bpf/a.go": source("bpf", module+"/topology")},
		want:  []string{"bpf/a.go: imports topology; bpf may import journey, internal/nearest"},
	}, {
		name:  "a test of bpf sees topology",
		files: map[string]string{"bpf/a_test.go": source("bpf", module+"/topology")},
		want:  []string{"bpf/a_test.go: imports topology; bpf may import journey, internal/nearest, internal/golden, internal/leak, internal/netns"},
	}, {
		name:  "topology sees bpf",
		files: map[string]string{"topology/a.go": source("topology", module+"/bpf/filter")},
		want:  []string{"topology/a.go: imports bpf/filter; topology may import internal/netns, internal/nearest"},
	}, {
		name:  "assert sees topology",
		files: map[string]string{"assert/a.go": source("assert", module+"/topology")},
		want:  []string{"assert/a.go: imports topology; assert may import journey, internal/nearest"},
	}, {
		name:  "packet does not stand alone",
		files: map[string]string{"packet/a.go": source("packet", module+"/internal/netns")},
		want:  []string{"packet/a.go: imports internal/netns; packet may import nothing of ours"},
	}, {
		name: "a suite goes around the harness",
		files: map[string]string{
			"suites/x/x_test.go": source("x", module+"/bpf", "github.com/vishvananda/netlink", "github.com/cilium/ebpf"),
		},
		want: []string{
			"suites/x/x_test.go: imports bpf; suites may import harness, topology, packet, assert, journey, " +
				"internal/suite, internal/golden, internal/leak, internal/netns",
			"suites/x/x_test.go: imports github.com/cilium/ebpf, which is for bpf, topology, internal/leak, bench, vm",
			"suites/x/x_test.go: imports github.com/vishvananda/netlink, which is for topology, internal/netns, bpf, packet",
		},
	}, {
		name:  "a suite holds more than tests",
		files: map[string]string{"suites/x/x.go": source("x")},
		want:  []string{"suites/x: suites holds tests only"},
	}, {
		name:  "one internal package imports another",
		files: map[string]string{"internal/a/a.go": source("a", module+"/internal/netns")},
		want:  []string{"internal/a/a.go: imports internal/netns; internal may import nothing of ours"},
	}, {
		name:  "a name that only begins like an allowed one",
		files: map[string]string{"assert/a.go": source("assert", module+"/journeys")},
		want:  []string{"assert/a.go: imports journeys; assert may import journey, internal/nearest"},
	}, {
		name: "netlink is for the tests of packet, and for no more of it",
		files: map[string]string{
			"packet/a.go":      source("packet", "github.com/vishvananda/netlink"),
			"packet/a_test.go": source("packet", "github.com/vishvananda/netlink"),
		},
		want: []string{"packet/a.go: imports github.com/vishvananda/netlink, which is for topology, internal/netns"},
	}, {
		name:  "cgo",
		files: map[string]string{"vm/a.go": source("vm", "C")},
		want:  []string{"vm/a.go: imports C, which is for nobody"},
	}, {
		name:  "a dot-import outside of a test",
		files: map[string]string{"harness/a.go": source("harness", ". strings")},
		want:  []string{"harness/a.go: dot-imports strings outside of a test"},
	}, {
		name:  "no doc.go",
		files: map[string]string{"vm/a.go": source("vm"), "vm/doc.go": ""},
		want:  []string{"vm: the package has no doc.go"},
	}, {
		name:  "a doc.go that says nothing",
		files: map[string]string{"vm/doc.go": "package vm\n"},
		want:  []string{"vm/doc.go: it does not say what the package is for"},
	}, {
		name:  "a package without a rule",
		files: map[string]string{"web/a.go": source("web")},
		want:  []string{"web: no rule says what this package may import; add one to internal/archtest"},
	}, {
		name:  "a vague name",
		files: map[string]string{"vm/util/a.go": source("util")},
		want:  []string{"vm/util: the name util says nothing of what the package is for"},
	}, {
		name: "a long file",
		files: map[string]string{
			"vm/a.go": source("vm") + long,
			"vm/b.go": "// Code generated by a program. DO NOT EDIT.\n\n" + source("vm") + long,
		},
		want: []string{"vm/a.go: 503 lines, where 500 are the limit"},
	}, {
		name:  "behind a build tag",
		files: map[string]string{"journey/a.go": "//go:build windows\n\n" + source("journey", module+"/vm")},
		want:  []string{"journey/a.go: imports vm; journey may import nothing of ours"},
	}} {
		t.Run(test.name, func(t *testing.T) {
			faults, err := check(repository(test.files), module)
			qt.Assert(t, qt.IsNil(err))
			qt.Check(t, qt.DeepEquals(faults, test.want))
		})
	}
}

// repository adds the doc.go that each package needs; an empty one leaves it out.
func repository(files map[string]string) fstest.MapFS {
	all := fstest.MapFS{}
	for name, content := range files {
		folder := name[:strings.LastIndex(name, "/")]
		doc := folder + "/doc.go"
		if _, ok := files[doc]; !ok && !strings.Contains(folder, "testdata") {
			pkg := strings.TrimSuffix(strings.Fields(content[strings.LastIndex(content, "package "):])[1], "_test")
			all[doc] = &fstest.MapFile{Data: []byte(source(pkg))}
		}
		if content != "" {
			all[name] = &fstest.MapFile{Data: []byte(content)}
		}
	}
	return all
}

func TestCheckErrors(t *testing.T) {
	_, err := check(fstest.MapFS{"vm/a.go": {Data: []byte("no Go at all")}}, module)
	qt.Check(t, qt.ErrorMatches(err, `check the layout: parse: vm/a.go:1:1: expected 'package', found no`))
	_, err = check(fstest.MapFS{"README.md": {}}, module)
	qt.Check(t, qt.ErrorMatches(err, `check the layout: no Go file found`))
}
