// Package ci holds what continuous integration needs as data: the list of kernels. The set-up script and the
// templates for pipelines are in the same folder.
package ci

import _ "embed"

// Kernels is the text of the list of kernels; the comment at its top explains its columns.
//
//go:embed kernels
var Kernels string
