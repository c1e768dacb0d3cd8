// Boxes that touch, edges and corners included, directly or through others.
#pragma once

#include <functional>
#include <vector>

#include "../core/votes.h"

namespace mammofast {

// Calls visit once for each group; every vote is in one group.
void group_touching(const std::vector<Vote>& votes, const std::function<void(const std::vector<Vote>&)>& visit);

}  // namespace mammofast
