package etcd

import (
	"math/rand/v2"
	"time"

	"github.com/logferry/logferry/config"
)

// pace is how a process spreads what all processes of a fleet do at one etcd. It
// follows from etcd.report_every alone, which grows with the fleet: docs/fleet.md
// has the arithmetic.
type pace struct{ every time.Duration }

// usual is the default of etcd.report_every, for up to some thousands.
const usual = 5 * time.Second

func paceOf(cfg *config.Etcd) pace {
	if cfg.ReportEvery <= 0 {
		return pace{usual}
	}
	return pace{cfg.ReportEvery.D()}
}

// around is a time that differs by up to a fifth from d, so that a fleet that
// began together does not go on together.
func around(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5+1) }

// report is the pause between two reports.
func (p pace) report() time.Duration { return around(p.every) }

// answer is how long a report waits that is asked for at once: what is asked for
// comes in bursts, and mostly because of a change that the whole fleet answers.
func (p pace) answer() time.Duration { return soon + rand.N(p.every/25+1) }

// gather is how long the first event of a burst waits for the others. Beyond
// some thousands, not all read at once what was changed.
func (p pace) gather() time.Duration { return gather + rand.N(max(p.every-usual, 0)/50+1) }

// alive is how long a process counts as alive after its last sign; it gives one
// three times in that time.
func (p pace) alive() time.Duration { return min(max(p.every, minAlive), maxAlive) }

// lastWords is the longest time that last words are behind the report.
func (p pace) lastWords() time.Duration { return 3 * p.every }

// reconnect is the longest pause between two attempts.
func (p pace) reconnect() time.Duration { return maxPause + max(p.every-usual, 0)/10 }
