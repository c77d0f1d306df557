// Package nearest finds the names that a misspelt one may have meant, for error texts.
package nearest
