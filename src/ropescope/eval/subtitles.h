// Subtitles (.srt) as Video-MME's prompt gets them from lmms-eval: the lines that are shown while one of 32 evenly spaced frames
// is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ropescope::eval {

struct SubtitleLine {
  double start = 0, end = 0;  ///< seconds
  std::string text;           ///< its lines, joined by blanks
};

/// The entries of a file, in its order; of two with the same times the place of the first and the text of the last. Entries of
/// fewer than three lines are left out. Throws InputError, naming `what`, for times of another form than 00:01:02,500.
std::vector<SubtitleLine> parse_subtitles(const std::string& srt, const std::string& what);

/// What the prompt says: of the lines that are shown at frame floor(i (frames - 1) / 31), for i of 0 to 31, the text between
/// `<font color="white" size=".72c">` and `</font>`, joined by newlines; lines without it are left out. Frames are those of
/// the whole clip, at `fps` a second. The lines stand in the order in which CPython walks through a set of their numbers, as in the
/// harness: in long clips that is not the order in which they are shown.
std::string shown_subtitles(const std::vector<SubtitleLine>& lines, int64_t frames, double fps);

/// In place of them, where there is no file.
inline constexpr const char* kNoSubtitles = "No subtitles available";

/// The order in which CPython 3.7 and later walk through set(numbers).
std::vector<size_t> python_set_order(const std::vector<size_t>& numbers);

}  // namespace ropescope::eval
