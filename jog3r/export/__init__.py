"""One file per format, each with a writer and a reader; every output appears whole or not at all.

=================  =============================================  =================================
file               writer, reader                                 holds
=================  =============================================  =================================
mp4.py             write_mp4, read_mp4                            video (H.264; lossy)
realestate10k.py   write_realestate10k, read_realestate10k        camera_from_world, K normalised
tum.py             write_tum, read_tum                            world_from_camera, no K
cameras_json.py    write_cameras_json, read_cameras_json          world_from_camera, K, image names
cameras.py         write_cameras, read_cameras                    chooses among these three
ply.py             write_ply, read_ply                            points, colours, confidence
glb.py             write_glb, read_glb                            points, colours, camera frusta
overview.py        write_overview                                 a picture of all of it
folder.py          write_reconstruction, read_reconstruction, ..  all of it, lossless, as a folder
=================  =============================================  =================================

Not imported here: each file wraps packages that only its own format needs.
"""
