// The forms in which published data sets keep options and answers: as columns A, B, C, ... of a row with the
// letter of the right one (VLMEvalKit's tables), as a list with an index (lmms-eval's data), or in the text of
// the question. A benchmark's `adopt` brings a row into the form that its rules read.
#pragma once

#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/letters.h"

namespace ropescope::eval {

/// The columns A to Z that are there and not empty, by letter.
std::vector<Option> option_columns(const Json& record);
void drop_option_columns(Json& record);

/// Options of the columns A, B, ... as the list `column`; with `index` the letter in `answer` becomes its
/// number, from 0. Nothing to do where there is such a list, or no option column. Throws InputError for a letter that
/// is left out, or an answer that is none of them.
void adopt_option_list(Json& record, const char* column, bool index);
/// The same where the options belong to the question's text, as `text` writes them behind it. A question that
/// names the answer's letter already stays as it is.
void adopt_options_into_question(Json& record, Text (*text)(const std::vector<Option>& options));
/// `answers` from `answer`, where that is a list (a JSON array, or the text of a Python list).
void adopt_answer_list(Json& record);
/// A column whose cell holds a JSON array as text becomes that array; anything else stays as it is.
void adopt_json_list(Json& record, const char* column);
/// Gives the column `to` the value of `from`, if only that is there.
void adopt_column(Json& record, const char* from, const char* to);

/// The letters of options, "A, B, C".
std::string letters_text(const std::vector<Option>& options);
/// Throws InputError unless `answer` is the letter of one of the options.
void check_letter(const Json& doc, const std::vector<Option>& options);
/// Throws InputError unless `answer` is yes or no, in any case.
void check_yes_or_no(const Json& doc);
/// Throws InputError where `answer` is a single letter and the question does not name such an option ("C." or "C:" or
/// "(C)"): asked like that, nobody can know what is meant.
void check_options_in_question(const Json& doc);
/// Throws InputError for a record with options, for a benchmark that asks without any.
void check_no_options(const Json& record, const std::string& benchmark);

}  // namespace ropescope::eval
