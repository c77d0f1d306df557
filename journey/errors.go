package journey

import "errors"

// ErrInconclusive is wrapped by every error that says: the record cannot vouch for the answer. The text of such an
// error begins with "INCONCLUSIVE:".
var ErrInconclusive = errors.New("INCONCLUSIVE")
