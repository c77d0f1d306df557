package nearest

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// Names returns up to three candidates that resemble name: first those with at most two letters wrong, then those that
// begin with it, then those with up to a quarter of the letters wrong; the closest first, ties in alphabetical order.
func Names(name string, candidates iter.Seq[string]) []string {
	type candidate struct {
		name           string
		rank, distance int
	}
	var found []candidate
	for c := range candidates {
		limit := max(len(name), len(c))/4 + 1
		begins := len(name) > 2 && strings.HasPrefix(c, name)
		if !begins && max(len(name), len(c))-min(len(name), len(c)) > limit {
			continue // cannot be closer than the difference of their lengths
		}
		switch d := distance(name, c); {
		case begins && d > 1:
			found = append(found, candidate{c, 1, d})
		case d <= min(limit, 2):
			found = append(found, candidate{c, 0, d})
		case d <= limit:
			found = append(found, candidate{c, 2, d})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, c := range found {
		if len(names) == 3 {
			break
		}
		if !slices.Contains(names, c.name) {
			names = append(names, c.name)
		}
	}
	return names
}

// distance counts the letters to insert, delete or replace (Levenshtein).
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
