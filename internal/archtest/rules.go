package archtest

// rule is what the packages of one folder may import.
type rule struct {
	// folder and what is below it; the rule with the longest folder applies.
	folder string
	// own are the folders of this repository that may be imported, besides the folder itself.
	own []string
	// tests are those that its tests may import, too.
	tests []string
	// testsOnly says that a folder holds tests only.
	testsOnly bool
}

var rules = []rule{
	{folder: "journey"},
	{folder: "packet"},
	{folder: "eventfile", own: []string{"journey"}},
	{folder: "collect", own: []string{"bpf", "topology", "journey", "internal/netns", "internal/nearest"}},
	{folder: "ci"},
	{folder: "ci/template", own: []string{"harness", "topology", "packet", "assert"}, testsOnly: true},
	{folder: "bench", own: []string{"bpf", "topology", "packet", "journey"}},
	{folder: "bpf", own: []string{"journey", "internal/nearest"}},
	// A filter is for a kernel that runs it, and for files, and knows nothing of a tracker.
	{folder: "bpf/filter", own: []string{"internal/nearest"}},
	{folder: "topology", own: []string{"internal/netns", "internal/nearest"}},
	{folder: "assert", own: []string{"journey", "internal/nearest"}},
	{
		folder: "harness", own: []string{"bpf", "topology", "packet", "journey", "internal/nearest"},
		tests: []string{"assert", "internal/suite"},
	},
	{folder: "suites", own: []string{"harness", "topology", "packet", "assert", "journey", "internal/suite"}, testsOnly: true},
	{folder: "vm", own: []string{"internal/nearest"}},
	{
		folder: "cmd",
		own:    []string{"harness", "bpf", "topology", "packet", "journey", "collect", "eventfile", "vm", "ci", "internal/nearest"},
	},
	{folder: "internal/suite", own: []string{"harness", "internal/leak"}},
	{folder: "internal"},
}

// everywhere are the folders that every package may import: words, not knowledge.
var everywhere = []string{"internal/plural"}

// inTests are the folders that the tests of every package may import.
var inTests = []string{"internal/golden", "internal/leak", "internal/netns"}

// libraries that may be used in some folders only. Tests in further folders may use them to build what they need.
var libraries = []struct {
	path    string
	folders []string
	tests   []string
}{
	{path: "github.com/cilium/ebpf", folders: []string{"bpf", "topology", "internal/leak", "bench"}, tests: []string{"vm"}},
	{
		path:    "github.com/vishvananda",
		folders: []string{"topology", "internal/netns"},
		tests:   []string{"bpf", "packet"},
	},
	// A journey knows nothing of the machine that it is read on.
	{path: "golang.org/x/sys", folders: machine},
	{path: "syscall", folders: machine},
	{path: "go.yaml.in/yaml", folders: []string{"topology"}},
	// A cgo program is not static, and would not run in the VM.
	{path: "C"},
}

var machine = []string{"bpf", "topology", "packet", "harness", "collect", "suites", "vm", "ci", "cmd", "internal", "bench"}

// vagueNames say nothing of what a package is for.
var vagueNames = []string{"util", "utils", "common", "helper", "helpers", "misc"}

// longest is how many lines a file may have, if no program wrote it.
const longest = 500
