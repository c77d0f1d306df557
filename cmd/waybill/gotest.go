package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/vm"
)

// testBinarySuffix ends the name of what go test runs.
const testBinarySuffix = ".test"

// killDelay is how much longer than -test.timeout a test binary may run before it is killed. go test waits as long.
const killDelay = time.Minute

// reportFlags are flags with which a test binary is told to write a file, relative to the folder that it runs in.
var reportFlags = map[string]bool{
	"ginkgo.junit-report": true, "ginkgo.json-report": true, "ginkgo.teamcity-report": true, "ginkgo.gojson-report": true,
	"test.testlogfile": true,
}

// profileFlags are those whose files are relative to -test.outputdir, if that is given.
var profileFlags = map[string]bool{
	"test.coverprofile": true, "test.cpuprofile": true, "test.memprofile": true, "test.blockprofile": true,
	"test.mutexprofile": true, "test.trace": true,
}

// folderFlags name folders that are read, too.
var folderFlags = map[string]bool{"test.gocoverdir": true, "test.fuzzcachedir": true}

// likeGoTest gives a program what it would have here: a test binary is run in the folder of its package, with testdata;
// and the files that it is told to write come back to where they would have been.
func likeGoTest(config *vm.Config) error {
	here, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find this folder: %w", err)
	}
	p := places{config: config, here: here}
	if strings.HasSuffix(config.Program, testBinarySuffix) && config.Dir == "" {
		config.Dir = here
		if err := defaultArtifacts(config); err != nil {
			return err
		}
		// New and changed files come back: a crasher that fuzzing found, a golden file.
		p.both("testdata")
	}
	if config.Dir == "" {
		config.Dir = "/"
	}
	flags := flagValues(config.Args)
	for _, f := range flags {
		switch {
		case reportFlags[f.name]:
			p.back(f.value)
		case profileFlags[f.name]:
			p.back(under(last(flags, "test.outputdir"), f.value))
		case folderFlags[f.name]:
			p.both(f.value)
		case f.name == "test.artifacts" && f.value != "false":
			p.back(under(last(flags, "test.outputdir"), "_artifacts"))
		}
	}
	if dir := os.Getenv("GOCOVERDIR"); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return fmt.Errorf("find the folder GOCOVERDIR: %w", err)
		}
		config.Env = append([]string{"GOCOVERDIR=" + abs}, config.Env...)
		config.Outputs = append(config.Outputs, vm.Output{Guest: abs, Host: abs, Folder: true})
	}
	return nil
}

// defaultArtifacts has what failed tests leave come back to the user's cache folder, where they leave it without a VM. What an
// earlier run of the same tests left there is removed.
func defaultArtifacts(config *vm.Config) error {
	if config.Artifacts != "" {
		return nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("find the cache folder: %w", err)
	}
	config.Artifacts = filepath.Join(cache, "waybill", "artifacts")
	earlier := filepath.Join(config.Artifacts, strings.TrimSuffix(filepath.Base(config.Program), testBinarySuffix))
	if err := os.RemoveAll(earlier); err != nil {
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}
	return nil
}

// longestRun is how long a program may run: as the user says, or a little longer than a test binary allows itself.
func longestRun(asked *time.Duration, args []string) time.Duration {
	if asked != nil {
		return *asked
	}
	if text := last(flagValues(args), "test.timeout"); text != "" {
		if d, err := time.ParseDuration(text); err == nil {
			if d == 0 {
				return 0
			}
			return d + killDelay
		}
	}
	return defaultTimeout
}

// places are where a program's files are here and in the guest, whose paths are the same.
type places struct {
	config *vm.Config
	here   string
}

// paths returns where a path that the program is told leads in the guest, and where it would have led here.
func (p *places) paths(name string) (guest, host string) {
	if filepath.IsAbs(name) {
		return filepath.Clean(name), filepath.Clean(name)
	}
	return filepath.Join(p.config.Dir, name), filepath.Join(p.here, name)
}

// back has a file or folder come back.
func (p *places) back(name string) {
	if name != "" {
		guest, host := p.paths(name)
		p.config.Outputs = append(p.config.Outputs, vm.Output{Guest: guest, Host: host})
	}
}

// both has a folder go along, if it is there, and come back.
func (p *places) both(name string) {
	if guest, host := p.paths(name); name != "" && isFolder(host) {
		p.config.Files = append(p.config.Files, vm.File{Src: host, Dst: guest})
	}
	p.back(name)
}

func isFolder(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.IsDir()
}

// under is a file in a folder, if the folder is named and the file's path is relative.
func under(dir, name string) string {
	if dir == "" || name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// flagValue is one flag of a program's command line.
type flagValue struct{ name, value string }

// flagValues reads flags as the package flag does, without knowing which have values: -name=value, -name value.
func flagValues(args []string) []flagValue {
	var out []flagValue
	for i, a := range args {
		name, ok := strings.CutPrefix(a, "-")
		if !ok {
			continue
		}
		name = strings.TrimPrefix(name, "-")
		name, value, has := strings.Cut(name, "=")
		if !has && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			value = args[i+1]
		}
		out = append(out, flagValue{name, value})
	}
	return out
}

// last returns the value of the last flag of that name: it is the one that counts.
func last(flags []flagValue, name string) string {
	value := ""
	for _, f := range flags {
		if f.name == name {
			value = f.value
		}
	}
	return value
}
