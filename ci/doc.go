// Package ci holds what continuous integration needs: the list of kernels, as data. In the same folder are the set-up script,
// the command that runs suites on several kernels (matrix) with its reports (report), and the template of a pipeline (github).
package ci

import _ "embed"

// Kernels is the text of the list of kernels; the comment at its top explains its fields.
//
//go:embed kernels
var Kernels string
