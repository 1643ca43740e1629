"""Lightning modules, data modules and callbacks: the only room that imports lightning."""
