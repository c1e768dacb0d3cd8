// Lists of images and of their grey tables as the kernels take them.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../../core/scratch.h"
#include "../../detection_inputs/detection_inputs.h"
#include "device_array.h"

namespace mammofast::bindings {

using Contrasts = std::vector<std::pair<double, double>>;

// The device of the first image.
inline py::object first_of(const py::list& images) { return images.empty() ? py::none() : py::object(images[0]); }

class DeviceImages {
  public:
    // images: 2-D, of any pixel type, at least one pixel each; values of a row are adjacent, rows may lie apart.
    // tables: for each None, or its values and the stored value of the first one. Values are float32, on the device or
    // as NumPy arrays, which are copied there.
    // contrasts: for each its own, or none where windows say it; window_of: which window is whose, none: its own.
    // Throws ValueError "name: got ..., expected ...".
    DeviceImages(const DeviceGuard& guard, const std::string& name, const py::list& images, const py::list& tables,
                 const Contrasts& contrasts = {}, const std::vector<int64_t>& window_of = {});

    const std::vector<DeviceSource>& sources() const { return sources_; }
    int64_t size() const { return static_cast<int64_t>(sources_.size()); }

  private:
    void add_tables(const DeviceGuard& guard, const py::list& tables);

    std::vector<DeviceSource> sources_;
    std::optional<Scratch<float>> copied_;  // the tables that were NumPy arrays
};

// A status for each of n images, all well so far.
Output<int32_t> new_status(const DeviceGuard& guard, py::object given, int64_t n);

// float64 (n, 2), or null for None.
const double* windows_or_null(const DeviceGuard& guard, py::handle windows, const Extent& n);

}  // namespace mammofast::bindings
