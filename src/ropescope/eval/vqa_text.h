// Normalisation and accuracy of the VQA metric (VQA: Visual Question Answering, Antol et al. 2015), with the
// habits of the scripts that run it. They are kept as they are: scores are compared with published ones.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

/// Dialects of the punctuation step.
enum class VqaPunctuation {
  /// lmms-eval: a comma run between two digits switches all characters to deletion; a dot goes unless a digit
  /// follows, at most 32 dots.
  kHarness,
  /// MM-NIAH: the same, but only a single comma between digits switches.
  kSingleComma,
  /// VLMEvalKit: as MM-NIAH, but a dot stays also where a digit stands before it.
  kDigitsAround,
};

/// Step P: deletes or blanks ; / [ ] " { } ( ) = + \ _ - > < @ ` , ? ! and deletes dots.
Text vqa_punctuation(TextView text, VqaPunctuation dialect = VqaPunctuation::kHarness);

/// Number words of step D: none and zero to ten; or (MM-NIAH) zero to nineteen and the tens to ninety.
enum class VqaNumbers { kToTen, kToNinety };

/// Step D: lowered words, number words as digits, no articles, contractions with their apostrophes.
Text vqa_digits_articles(TextView text, VqaNumbers numbers = VqaNumbers::kToTen);

/// Step W: lowered, no `,` and `?`, `'s` as a word of its own, stripped.
Text vqa_words(TextView text);

/// Newlines and tabs to blanks, stripped.
Text vqa_one_line(TextView text);

/// Mean over the annotators of min(1, m / 3), m = how many of the others gave this answer.
double vqa_accuracy(const Text& output, const std::vector<Text>& answers);

/// The texts of a doc's `answers`: strings, or records with the key `answer`. Throws InputError.
std::vector<Text> vqa_answers(const Json& doc);
/// Throws InputError for none.
void check_vqa_answers(const Json& doc);

const std::unordered_map<Text, Text>& vqa_contractions();

}  // namespace ropescope::eval
