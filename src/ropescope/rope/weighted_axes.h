// Allocations whose channels turn by a weighted sum of rows t, h, w: angle_i = f_i (w_it t + w_ih h + w_iw w).
#pragma once

#include "ropescope/rope/frequency_allocation.h"

namespace ropescope {

/// Spiral RoPE, arXiv 2602.03227: channel i follows direction k = i mod K, phi_k = k pi / K, of the picture's plane,
///   angle = f (w cos phi_k + h sin phi_k + t (1 - cos phi_k - sin phi_k)),
/// so that text, whose rows are equal, turns by f p as in the language model, and tokens of one frame differ by the
/// projection of their offset. The paper's transformers see no text: `text=projected` leaves t out. Settings: directions=K
/// (default 4), text=kept|projected. Throws UsageError for more directions than channels.
void spiral_weights(const Division& division, std::vector<WeightsOfChannel>& heads);

/// Mixed axes: weights of every channel, normalised to length 1 (a channel of zeros does not turn), from a JSON file
/// (`weights`: a list of [t, h, w] a channel, bare or under "weights") or drawn as RoPE-Mixed starts (arXiv 2403.13298): of
/// every key/value head an angle a, uniform in [0, 2 pi); the first half of the channels follows direction a, w cos a +
/// h sin a, the other half direction a + pi/2. A file is read once a process. Throws UsageError for both settings, InputError
/// for a file of another form.
void mixed_weights(const Division& division, std::vector<WeightsOfChannel>& heads);

}  // namespace ropescope
