#pragma once

#include <pybind11/pybind11.h>

namespace mammofast::bindings {

void register_arrays(pybind11::module_& module);
void register_confidence_mask(pybind11::module_& module);
void register_contrast_windows(pybind11::module_& module);
void register_detection_inputs(pybind11::module_& module);
void register_segmentation_inputs(pybind11::module_& module);
void register_fuse_boxes(pybind11::module_& module);
void register_label_mask(pybind11::module_& module);
void register_paste_masks(pybind11::module_& module);
void register_roi_align(pybind11::module_& module);
void register_nms(pybind11::module_& module);
void register_decode_yolo(pybind11::module_& module);
void register_collect_boxes(pybind11::module_& module);
void register_tiles(pybind11::module_& module);
void register_components(pybind11::module_& module);

}  // namespace mammofast::bindings
