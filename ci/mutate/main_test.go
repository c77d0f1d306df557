package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-quicktest/qt"
	"github.com/onsi/ginkgo/v2/types"
)

const folder = "../../suites/examples"

// TestMutationsCompile: each changes a word that its example has once, and what comes of it is Go.
func TestMutationsCompile(t *testing.T) {
	overlay, err := overlay(folder, t.TempDir(), mutations)
	qt.Assert(t, qt.IsNil(err))
	vet := exec.Command("go", "vet", "-overlay", overlay, ".")
	vet.Dir = folder
	out, err := vet.CombinedOutput()
	qt.Check(t, qt.IsNil(err), qt.Commentf("%s", out))
	text, err := os.ReadFile(overlay)
	qt.Assert(t, qt.IsNil(err))
	var files struct{ Replace map[string]string }
	qt.Assert(t, qt.IsNil(json.Unmarshal(text, &files)))
	qt.Check(t, qt.HasLen(files.Replace, len(mutations)))
}

// TestEveryExampleIsChanged: one that is not takes no part.
func TestEveryExampleIsChanged(t *testing.T) {
	examples, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	qt.Assert(t, qt.IsNil(err))
	changed := map[string]bool{"suite_test.go": true}
	for _, m := range mutations {
		changed[m.file] = true
	}
	for _, file := range examples {
		qt.Check(t, qt.IsTrue(changed[filepath.Base(file)]), qt.Commentf("%s", file))
	}
}

func TestJudge(t *testing.T) {
	its := []mutation{{"a_test.go", "x", "y", "but it was"}}
	spec := func(file, failure string) types.SpecReport {
		s := types.SpecReport{LeafNodeLocation: types.CodeLocation{FileName: "/somewhere/" + file}, State: types.SpecStatePassed}
		if failure != "" {
			s.State, s.Failure.Message = types.SpecStateFailed, failure
		}
		return s
	}
	for name, test := range map[string]struct {
		specs []types.SpecReport
		well  bool
	}{
		"caught":                     {[]types.SpecReport{spec("a_test.go", ""), spec("changed00_a_test.go", "Expected x\n but it\n was y")}, true},
		"caught by one of two specs": {[]types.SpecReport{spec("a_test.go", ""), spec("changed00_a_test.go", ""), spec("changed00_a_test.go", "but it was")}, true},
		"not caught":                 {[]types.SpecReport{spec("a_test.go", ""), spec("changed00_a_test.go", "")}, false},
		"for another reason":         {[]types.SpecReport{spec("a_test.go", ""), spec("changed00_a_test.go", "boom")}, false},
		"broken as it is":            {[]types.SpecReport{spec("a_test.go", "boom"), spec("changed00_a_test.go", "but it was")}, false},
		"not run":                    {[]types.SpecReport{spec("a_test.go", "")}, false},
		"nothing run":                {nil, false},
	} {
		err := judge(t.Output(), []types.Report{{SpecReports: test.specs}}, its)
		qt.Check(t, qt.Equals(err == nil, test.well), qt.Commentf("%s", name))
	}
}

func TestOverlayWantsWordsOnce(t *testing.T) {
	_, err := overlay(folder, t.TempDir(), []mutation{{"nat_test.go", "no such word", "", ""}})
	qt.Check(t, qt.ErrorMatches(err, `nat_test.go has "no such word" 0 times: name what it has once`))
	_, err = overlay(folder, t.TempDir(), []mutation{{"none_test.go", "x", "", ""}})
	qt.Check(t, qt.ErrorMatches(err, "read the example: open .*"))
}
