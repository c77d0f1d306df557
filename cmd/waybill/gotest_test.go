package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/vm"
)

func TestLikeGoTest(t *testing.T) {
	here := t.TempDir()
	t.Chdir(here)
	t.Setenv("GOCOVERDIR", "")
	t.Setenv("XDG_CACHE_HOME", here)
	qt.Assert(t, qt.IsNil(os.MkdirAll("testdata/fuzz", 0o755)))
	qt.Assert(t, qt.IsNil(os.Mkdir("cover", 0o755)))
	same := func(path string) vm.Output { return vm.Output{Guest: path, Host: path} }
	testdata := same(filepath.Join(here, "testdata"))
	for _, test := range []struct {
		name    string
		in      vm.Config
		dir     string
		files   []string
		outputs []vm.Output
		left    string // folder for what failed tests leave
	}{
		{name: "a program", in: vm.Config{Program: "ls", Args: []string{"-l", "--", "x"}}, dir: "/"},
		{
			name: "a test binary", in: vm.Config{Program: "/b001/x.test", Args: []string{"-test.v"}}, dir: here,
			files: []string{testdata.Guest}, outputs: []vm.Output{testdata}, left: filepath.Join(here, "waybill/artifacts"),
		},
		{
			name: "a test binary that is told where", in: vm.Config{Program: "/b001/x.test", Artifacts: "left"}, dir: here,
			files: []string{testdata.Guest}, outputs: []vm.Output{testdata}, left: "left",
		},
		{
			name: "elsewhere", in: vm.Config{Program: "/b001/x.test", Dir: "/there", Args: []string{"-ginkgo.junit-report", "r.xml"}},
			dir: "/there", outputs: []vm.Output{{Guest: "/there/r.xml", Host: filepath.Join(here, "r.xml")}},
		},
		{
			name: "reports and profiles", dir: "/",
			in: vm.Config{Program: "suite", Args: []string{
				"--ginkgo.json-report=/abs/r.json", "-test.cpuprofile=cpu.out", "-test.coverprofile=/b001/_cover_.out",
				"-test.outputdir=/out", "-test.artifacts", "-test.fuzzcachedir=/no/such", "-test.gocoverdir=" + filepath.Join(here, "cover"),
			}},
			files: []string{filepath.Join(here, "cover")},
			outputs: []vm.Output{
				same("/abs/r.json"), same("/out/cpu.out"), same("/b001/_cover_.out"), same("/out/_artifacts"), same("/no/such"),
				same(filepath.Join(here, "cover")),
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := test.in
			qt.Assert(t, qt.IsNil(likeGoTest(&c)))
			qt.Check(t, qt.Equals(c.Dir, test.dir))
			qt.Check(t, qt.Equals(c.Artifacts, test.left))
			var files []string
			for _, f := range c.Files {
				qt.Check(t, qt.Equals(f.Src, f.Dst))
				files = append(files, f.Src)
			}
			qt.Check(t, qt.DeepEquals(files, test.files))
			qt.Check(t, qt.DeepEquals(c.Outputs, test.outputs))
		})
	}
}

func TestLongestRun(t *testing.T) {
	hour := time.Hour
	for _, test := range []struct {
		asked *time.Duration
		args  []string
		want  time.Duration
	}{
		{nil, nil, 10 * time.Minute},
		{nil, []string{"-test.timeout=3m"}, 4 * time.Minute},
		{nil, []string{"-test.timeout=0"}, 0},
		{&hour, []string{"-test.timeout=3m"}, time.Hour},
	} {
		qt.Check(t, qt.Equals(longestRun(test.asked, test.args), test.want))
	}
}
