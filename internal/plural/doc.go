// Package plural counts things in sentences.
package plural
