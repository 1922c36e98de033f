// Ways of giving wrong time ids to the frames of a clip. Each gives no guess where a case has no clip, or its model does not
// count seconds.
#pragma once

#include <optional>
#include <vector>

#include "ropescope/audit/id_mistakes.h"

namespace ropescope {

/// Source rates that are tried where the real one is not known: those of films, television and telephones.
const std::vector<double>& usual_rates();

/// Ids from one group of frames to the next that the record shows for each item: s with t_k - t_0 = trunc(s k), the middle
/// of what fits; none for an item that no s fits. `shared` is set where groups of frames share an id.
std::optional<std::vector<double>> recorded_steps(const AuditCase& of, bool& shared);

/// Entries of known_mistakes().
Guesses source_fps_taken(const AuditCase& of);
Guesses seconds_missing(const AuditCase& of);
Guesses seconds_cut(const AuditCase& of);
Guesses frames_counted(const AuditCase& of);
/// Another step, with ids that groups of frames share, and without.
Guesses time_collides(const AuditCase& of);
Guesses time_step(const AuditCase& of);

}  // namespace ropescope
