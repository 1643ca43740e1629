"""One file per format, each with a writer and a reader; every output appears whole or not at all.

=====================  =============================================  ==============================
file                   writer, reader                                 holds
=====================  =============================================  ==============================
mp4.py                 write_mp4, read_mp4                            video (H.264; lossy)
images.py              write_images, read_images                      video as PNG files
realestate10k.py       write_realestate10k, read_realestate10k        camera_from_world, K / size
tum.py                 write_tum, read_tum                            world_from_camera, no K
kitti.py               write_kitti, read_kitti                        world_from_camera, no K
cameras_json.py        write_cameras_json, read_cameras_json          world_from_camera, K, names
colmap_text.py         write_colmap_text, read_colmap_text            a COLMAP model, .txt
colmap_binary.py       write_colmap_binary, read_colmap_binary        a COLMAP model, .bin
colmap_records.py      -                                              what these two share
colmap.py              scene_model, read_colmap                       a COLMAP model of a scene
gaussian_splatting.py  write_gaussian_splatting, read_gaussian_..     both, and points3D.ply
nerfstudio.py          write_nerfstudio, read_nerfstudio              transforms.json
npz.py                 write_npz, read_npz                            a whole scene for NumPy
ply.py                 write_ply, read_ply                            points, colours, confidence
ply_sequence.py        write_ply_sequence, read_ply_sequence          the same, per frame
glb.py                 write_glb, read_glb                            points, colours, cameras
mesh.py                write_mesh, read_mesh                          a fused mesh
overview.py            write_overview                                 a picture of all of it
folder.py              write_reconstruction, read_reconstruction, ..  all of it, lossless
=====================  =============================================  ==============================

cameras.py is the table of formats behind `Cameras.save` and `Cameras.load`, guess.py tells which
one a file is; scene.py is the table behind `export_scene` and `jog3r export`, sanity.py compares
what was written with the images. atomic.py and targets.py say how and where anything is written.

Not imported here: each file wraps packages that only its own format needs.
"""
