// Spans of time in the text of an answer, in seconds: "from 3.5 to 8", "0:12 - 0:20", one number a sentence.
#pragma once

#include <array>
#include <optional>

#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

/// Start and end, seconds, in this order.
using Span = std::array<double, 2>;

/// charades_sta of lmms-eval 0.7.3. Of the lowered text, each "to" a dash, the sentences (cut at ! ? and newlines) count that
/// have "start", "end" or "happen" in them, or all where none has. Two clock times with a dash between them; else two numbers so;
/// else the first two clock times; else the first number of each of two sentences; else two numbers with an "s" behind the first.
std::optional<Span> read_span(TextView output);

/// The script that scored its answers in May 2025: two numbers with a hyphen between them anywhere; else the first number of each of
/// two sentences that have one of the words. (Its rule for clock times never applies.)
std::optional<Span> read_span_of_2025(TextView output);

/// Overlap over the length from the earlier start to the later end; 0 where that is none.
double span_iou(const Span& a, const Span& b);

}  // namespace ropescope::eval
