#include "ropescope/vision/media_plan.h"

namespace ropescope {

int64_t MediaPlan::tokens() const {
  int64_t total = 0;
  for (const MediaRun& run : runs) total += run.tokens;
  return total;
}

int64_t MediaPlan::newline_tokens() const {
  int64_t total = 0;
  for (const MediaRun& run : runs) total += run.newlines;
  return total;
}

const char* media_role_name(MediaRun::Role role) {
  switch (role) {
    case MediaRun::Role::kWhole:
      return "whole";
    case MediaRun::Role::kThumbnail:
      return "thumbnail";
    case MediaRun::Role::kTile:
      return "tile";
    case MediaRun::Role::kFrames:
      return "frames";
  }
  return "";
}

}  // namespace ropescope
