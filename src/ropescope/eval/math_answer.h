// Free answers of MATH-Vision: what of an answer is compared, and when two formulas are the same.
#pragma once

#include <optional>

#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

/// Which names a formula may hold and still have a value. lmms-eval lost those of Python's `math` between May 2025 and
/// 0.7.3: since then an answer with a root or with pi is right only where it is written as the data has it.
enum class MathNames { kNone, kRootsAndPi };

/// A value as Python computes it: whole numbers stay whole until something is divided.
struct MathValue {
  double value = 0;
  bool whole = true;
};

/// Of arithmetic in LaTeX: numbers, + - * / : ^, \frac, \sqrt, \cdot, \times, \div, \pi, %, ! and brackets; factors may
/// stand side by side. None for anything else (variables, intervals, units, equations): such answers are compared as texts.
/// `ends_early`: a closing bracket that nothing opened ends the formula, whatever follows it ("2}x" is 2).
std::optional<MathValue> latex_value(TextView text, MathNames names, bool ends_early);

/// Of arithmetic in Python: numbers, + - * / ** and round brackets.
std::optional<MathValue> python_value(TextView text);

/// lmms-eval: the content of the last \boxed, or all of it, behind the last "=", without units, blanks and what only sets
/// a formula; some fractions and roots in one spelling.
Text math_answer(TextView output);

/// lmms-eval: equal texts, tuples that are equal member by member, or values that are equal to two decimals.
bool math_equal(TextView a, TextView b, MathNames names);

/// VLMEvalKit: equal texts, or values that differ by less than 1e-6.
bool vlmevalkit_math_equal(TextView a, TextView b);

}  // namespace ropescope::eval
