package vm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// unknownModuleError says that a kernel has no such module.
type unknownModuleError struct {
	name, kernel string
	nearest      []string
}

func (e *unknownModuleError) Error() string {
	text := fmt.Sprintf("kernel %s has no module %s", e.kernel, e.name)
	if len(e.nearest) > 0 {
		text += "; the nearest names are " + strings.Join(e.nearest, ", ")
	}
	return text
}

// nearest returns up to three names that are close to a wrong one.
func (t *moduleTree) nearest(name string) []string {
	type candidate struct {
		name string
		far  int
	}
	var all []candidate
	consider := func(n string) {
		far := distance(name, n)
		if far <= max(2, len(name)/3) || strings.Contains(n, name) {
			all = append(all, candidate{n, far})
		}
	}
	for n := range t.byName {
		consider(n)
	}
	for n := range t.builtin {
		consider(n)
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, c := range all[:min(3, len(all))] {
		out = append(out, c.name)
	}
	return out
}

// distance is the Levenshtein distance of two names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
