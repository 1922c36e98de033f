// Columns of a record.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/letters.h"
#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

/// A column as text; numbers and booleans as Python's str() writes them. Throws InputError naming the column
/// if it is missing or a list.
Text doc_text(const Json& doc, const char* column);
/// The same, none if the column is missing, null, empty, or one of the texts `nan` that a missing cell of a
/// table becomes.
std::optional<Text> doc_cell(const Json& doc, const char* column);
std::string doc_key(const Json& doc, const char* column);
int64_t doc_integer(const Json& doc, const char* column);
/// A list of texts.
std::vector<Text> doc_list(const Json& doc, const char* column);
/// The same, empty if the column is missing or null.
std::vector<Text> doc_list_or_none(const Json& doc, const char* column);

/// A, B, C, ... for a list of texts.
std::vector<Option> lettered(const std::vector<Text>& texts);
/// The lines "A. text", joined by newlines.
Text option_lines(const std::vector<Option>& options);
/// "(A) text" of each option.
std::vector<Text> bracketed(const std::vector<Text>& options);
/// A, B, C, ... by index. Throws InputError naming `column` for an index without an option.
char32_t letter_of(int64_t index, size_t options, const char* column);

/// The closing strings of prompts; the newline before them belongs to the benchmark.
inline constexpr TextView kLetterRequest =
    U"Answer with the option's letter from the given choices directly.";
inline constexpr TextView kShortAnswerRequest = U"Answer the question using a single word or phrase.";

/// A letter or null.
Json json_letter(std::optional<char32_t> letter);

/// lmms-eval's exact_match: lowered, without ASCII punctuation, not stripped after that.
bool exact_match(TextView output, TextView answer);

}  // namespace ropescope::eval
