//go:build lean

package app

import "context"

// Lean says that this build has no servers for [Up].
const Lean = true

// Up returns ErrLean.
func Up(context.Context, UpOptions) error { return ErrLean }
